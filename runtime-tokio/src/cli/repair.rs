//! `steadfast repair`: the last resort for a damaged log that nobody else has a copy of. First it says what would be given
//! up; with the word that it then names, it does it. The files that it replaces are kept in a directory of their own.

use std::io;
use std::path::PathBuf;

use clap::Args;
use steadfast_core::state::effect::Cause;
use steadfast_core::types::{Blob, Index};
use steadfast_core::verify::{GivenUp, Proposal, Repair};

use super::offline::{Refused, told};
use super::{EXIT_FAILED, EXIT_USAGE, offline, render};
use crate::net;
use crate::server::datadir::DataDir;
use crate::server::disk::Disk;
use crate::server::ending::EXIT_DISK;

/// What directories with old files are called.
const ASIDE: &str = "discarded";

/// Most names that are listed.
const NAMES: usize = 20;

/// Options of `steadfast repair`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Without --confirm nothing is changed.\n\n\
    EXIT CODES\n  0  done, or said what would be\n  1  refused, and nothing was changed\n  \
    2  usage, or it can't be read\n  5  the disk failed on the way; what there was is still there")]
pub struct RepairArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// The last entry to keep; everything behind it is given up
    #[arg(long, value_name = "INDEX")]
    discard_after: u64,
    /// The word that was printed without this option, if you agree to what was printed with it
    #[arg(long, value_name = "WORD")]
    confirm: Option<String>,
    /// The node is a member of a cluster of several, none of which has the lost entries any more
    #[arg(long)]
    cluster_member: bool,
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &RepairArgs) -> u8 {
    told(run(args))
}

fn run(args: &RepairArgs) -> Result<String, Refused> {
    let unreadable = |text| (EXIT_USAGE, text);
    let _lock =
        DataDir::open_existing(&args.data).map_err(|error| unreadable(offline::unavailable(&error)))?;
    let verified = offline::examine(&args.data).map_err(unreadable)?;
    let proposal = verified
        .propose(Index(args.discard_after), args.cluster_member)
        .map_err(|reason| (EXIT_FAILED, reason.to_string()))?;
    let word = proposal.word();
    match &args.confirm {
        None => Ok(format!("{}\n\n{}", describe(args, &proposal), how(args, &word))),
        Some(given) if *given == word => confirmed(args, proposal),
        Some(given) => Err((
            EXIT_FAILED,
            format!(
                "'{given}' is not the word for this; nothing was changed. Run it without --confirm, read what would be \
                 given up, and pass the word that it names"
            ),
        )),
    }
}

/// What would become of the directory.
fn describe(args: &RepairArgs, proposal: &Proposal) -> String {
    let mut lines = vec![format!("{}: nothing was changed yet.", args.data.display())];
    let from = match proposal.covered.index.0 {
        0 => "the log".to_owned(),
        index => format!("the snapshot of entry {index}, and the log behind it"),
    };
    lines.push(format!("Kept: {from} up to entry {} (term {}).", proposal.keeps.index, proposal.keeps.term));
    lines.extend(losses(&proposal.gives_up));
    if proposal.in_doubt {
        lines.push(
            "The node forgets what it promised to the others, so it is marked in doubt: it does not vote until a leader \
             that was elected without it has brought it up to date."
                .into(),
        );
    }
    lines.push(format!("Kept aside in {}:", offline::next_aside(&args.data, ASIDE).display()));
    lines.extend(proposal.aside.iter().map(|file| format!("  {file}")));
    lines.join("\n")
}

fn losses(given_up: &GivenUp) -> Vec<String> {
    let mut lines = Vec::new();
    if given_up.is_empty() && !given_up.more_lost {
        lines.push("Given up: nothing. Every entry can be read.".into());
        return lines;
    }
    lines.push("GIVEN UP, acknowledged writes among it:".into());
    if !given_up.lost.is_empty() {
        lines.push(format!("  lost already      {}", offline::runs(&given_up.lost)));
    }
    if given_up.more_lost {
        lines.push(
            "  lost already      perhaps more behind the last entry that can be read: nobody knows how much"
                .into(),
        );
    }
    if let (Some((first, last)), Some((low, high))) = (given_up.span, given_up.terms) {
        let entries = offline::counted(given_up.readable, "entry", "entries");
        lines.push(format!("  readable, but behind a loss or behind INDEX: {entries}, {first} to {last}, terms {low} to {high}"));
    }
    if let Some((first, last)) = given_up.times {
        lines.push(format!("    logged          {} to {}", offline::date(first.0), offline::date(last.0)));
    }
    let causes: Vec<String> =
        given_up.causes.iter().map(|(cause, number)| format!("{number} {}", cause_name(*cause))).collect();
    if !causes.is_empty() {
        lines.push(format!("    logged for      {}", causes.join(", ")));
    }
    for (what, changed) in [
        ("keys changed    ", &given_up.keys),
        ("users changed   ", &given_up.users),
        ("limiters changed", &given_up.limiters),
        ("locks changed   ", &given_up.claims),
        ("ids changed     ", &given_up.ids),
    ] {
        if !changed.is_empty() {
            lines.push(format!("    {what}{}", names(changed.iter(), changed.len())));
        }
    }
    if given_up.session_steps > 0 {
        lines.push(format!(
            "    in sessions     {}: a client that sends one of them again has it executed again",
            offline::counted(given_up.session_steps, "command", "commands")
        ));
    }
    lines
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::TermStart => "terms begun",
        Cause::Command => "commands",
        Cause::Expiry => "expiries",
        Cause::Clock => "times shown",
        Cause::System => "changes by the cluster itself",
        Cause::Members => "changes of the members",
    }
}

fn names<'a>(names: impl Iterator<Item = &'a Blob>, number: usize) -> String {
    let shown: Vec<String> = names.take(NAMES).map(|name| render::quoted(name)).collect();
    let more = if number > NAMES { format!(" and {} more", number - NAMES) } else { String::new() };
    format!("{number}: {}{more}", shown.join(", "))
}

fn how(args: &RepairArgs, word: &str) -> String {
    let member = if args.cluster_member { " --cluster-member" } else { "" };
    format!(
        "To do this:\n  steadfast repair {} --discard-after {}{member} --confirm {word}",
        args.data.display(),
        args.discard_after
    )
}

/// Does it, and looks at what has become of it.
fn confirmed(args: &RepairArgs, proposal: Proposal) -> Result<String, Refused> {
    let disk_failed = |doing: &str, error: io::Error| {
        (
            EXIT_DISK,
            format!("{doing} in {} failed: {error}. The damaged log is still there", args.data.display()),
        )
    };
    let seed =
        net::draw_seed().map_err(|error| (EXIT_FAILED, format!("can't read /dev/urandom: {error}")))?;
    let nonce = u64::from_le_bytes(std::array::from_fn(|at| seed[at]));
    let (files, keeps, covered) = (proposal.aside.clone(), proposal.keeps, proposal.covered);
    let aside = offline::put_aside(&args.data, ASIDE, &files, |_| false)
        .map_err(|error| disk_failed("keeping the old files", error))?;
    let mut disk = Disk::new(&args.data).map_err(|error| disk_failed("opening the directory", error))?;
    let mut repair = proposal.repair(nonce);
    let segment = repair.segment();
    offline::drive(&mut disk, &mut repair, Repair::next_op, Repair::done).map_err(|reason| {
        (
            EXIT_DISK,
            format!(
                "{reason}. The old files are in {}: run the same again once the disk works",
                aside.display()
            ),
        )
    })?;
    let after = offline::examine(&args.data).map_err(|text| (EXIT_DISK, text))?;
    if !after.report.starts_alone() || after.report.log.last.index != keeps.index {
        let what = after
            .report
            .damage
            .first()
            .map_or(String::new(), |damage| format!(": {}: {}", damage.file, damage.what));
        return Err((
            EXIT_DISK,
            format!("what was just written is damaged{what}. The old files are in {}", aside.display()),
        ));
    }
    Ok(format!(
        "{segment} is the log now: {} behind entry {}, up to entry {}. It was read back and is intact.\n\
         {} in {}; remove that directory when nobody needs it any more.\nStart the node.",
        offline::counted(keeps.index.0 - covered.index.0, "entry", "entries"),
        covered.index,
        keeps.index,
        offline::counted(files.len() as u64, "old file is", "old files are"),
        aside.display()
    ))
}
