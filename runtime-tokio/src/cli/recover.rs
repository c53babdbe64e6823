//! `steadfast recover`: the last resort for a cluster that lost the majority of its voters for good. First it says what one
//! node still has, and what may be lost; with the word that it then names, it makes a cluster of one out of that.

use std::path::PathBuf;

use clap::Args;
use steadfast_core::io::FileName;
use steadfast_core::types::Index;
use steadfast_core::verify::{Draws, POSITIONS, Recover, Survivor, SurvivorReading};

use super::offline::{Refused, told};
use super::{EXIT_FAILED, EXIT_USAGE, offline, render};
use crate::net;
use crate::server::datadir::DataDir;
use crate::server::disk::Disk;
use crate::server::ending::EXIT_DISK;

/// Options of `steadfast recover`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Without --accept nothing is changed.\n\n\
    EXIT CODES\n  0  done, or said what would be\n  1  refused, and nothing was changed\n  \
    2  usage, or it can't be read\n  5  the disk failed on the way; run the same again")]
pub struct RecoverArgs {
    /// The data directory of the one node from which to recover; its server is stopped
    #[arg(long = "data-dir", alias = "data", value_name = "DIR")]
    data: PathBuf,
    /// The highest position that anybody was told of, if you know of one beyond the node's last entry
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    seen: u64,
    /// The word that was printed without this option, if you agree to what was printed with it
    #[arg(long, value_name = "WORD")]
    accept: Option<String>,
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &RecoverArgs) -> u8 {
    told(run(args))
}

fn run(args: &RecoverArgs) -> Result<String, Refused> {
    let unreadable = |text| (EXIT_USAGE, text);
    let _lock =
        DataDir::open_existing(&args.data).map_err(|error| unreadable(offline::unavailable(&error)))?;
    let survivor = survivor(args)?;
    let word = survivor.word();
    match &args.accept {
        None => Ok(format!("{}\n\n{}", describe(args, &survivor), how(args, &word))),
        Some(given) if *given == word => accepted(args, survivor),
        Some(given) => Err((
            EXIT_FAILED,
            format!(
                "'{given}' is not the word for this; nothing was changed. Run it without --accept, read what may be lost, \
                 and pass the word that it names"
            ),
        )),
    }
}

/// Reads all that the node has.
fn survivor(args: &RecoverArgs) -> Result<Survivor, Refused> {
    let verified = offline::examine(&args.data).map_err(|text| (EXIT_USAGE, text))?;
    let refused = |reason: steadfast_core::verify::Unrecoverable| (EXIT_FAILED, reason.to_string());
    let mut reading = verified.survivor(Index(args.seen)).map_err(refused)?;
    let mut disk = Disk::read_only(&args.data)
        .map_err(|error| (EXIT_USAGE, format!("can't read {}: {error}", args.data.display())))?;
    offline::drive(&mut disk, &mut reading, |reading| reading.next_op(), SurvivorReading::done)
        .map_err(|reason| (EXIT_USAGE, reason.to_string()))?;
    reading.finish().map_err(refused)
}

/// What the node has, what may be lost, and what would become of it.
fn describe(args: &RecoverArgs, survivor: &Survivor) -> String {
    let mut lines = vec![format!("{}: nothing was changed yet.", args.data.display())];
    if survivor.begun {
        lines.push(
            "A recovery was begun here and has not ended; it would be done again from the beginning.".into(),
        );
    }
    lines.push(String::new());
    lines.extend(holds(survivor));
    lines.push(String::new());
    lines.extend(losses(survivor));
    lines.push(String::new());
    lines.extend(becomes(survivor));
    lines.push(format!("Kept aside in {}:", offline::next_aside(&args.data, ASIDE).display()));
    lines.extend(aside(survivor).iter().map(|file| format!("  {file}")));
    lines.push(String::new());
    lines.push(
        "Do this only if the others are lost for good. Nobody can tell from here whether a majority of them still runs, or can \
         be started: if it can, start it, and this node, and nothing is lost."
            .into(),
    );
    lines.join("\n")
}

fn holds(survivor: &Survivor) -> Vec<String> {
    let (owner, state, members) = (survivor.owner(), survivor.state(), &survivor.members);
    let own = (owner.node, owner.incarnation);
    let part = match (members.is_voter(own), owner.in_doubt) {
        (true, false) => "a voter",
        (true, true) => "a voter in doubt: it may have forgotten what it once confirmed",
        (false, _) => "no voter: it may lack more than a voter would",
    };
    let known = match survivor.known.index.0 {
        0 => "nothing for certain: there is no snapshot yet".to_owned(),
        index => format!("up to {index} (term {}) for certain, by the snapshot", survivor.known.term),
    };
    let mut lines = vec![
        format!("cluster   {} \"{}\"", survivor.cluster, render::clean(survivor.cluster_name())),
        format!(
            "node      {} (directory {}), {part}; boot {}, term {}",
            owner.node, owner.incarnation, owner.boot, owner.term
        ),
        format!(
            "entries   up to {} (term {}), logged at {}",
            survivor.last.index,
            survivor.last.term,
            offline::date(survivor.time.0)
        ),
        format!("committed {known}"),
        format!(
            "state     {}, {}, {}, {}, {} held, {}",
            offline::counted(state.key_count() as u64, "key", "keys"),
            offline::counted(state.user_count() as u64, "user", "users"),
            offline::counted(state.session_count() as u64, "session", "sessions"),
            offline::counted(state.lease_count() as u64, "lease", "leases"),
            offline::counted(state.held_count() as u64, "lock or the like", "locks and the like"),
            offline::counted(state.waiting_count() as u64, "wait", "waits"),
        ),
    ];
    for node in members.nodes() {
        let part = if members.has_voter_at(node) { "voter" } else { "learner" };
        let place =
            survivor.addresses.get(&node).map_or(String::new(), |at| format!(" at {}", render::clean(at)));
        let this = if node == owner.node { ", this one" } else { "" };
        lines.push(format!("member    {node}: {part}{place}{this}"));
    }
    lines.extend(survivor.damage.iter().map(|damage| {
        format!("damaged   {} at offset {}: {}", damage.file, damage.offset, render::clean(&damage.what))
    }));
    lines
}

/// What nobody can promise any more.
fn losses(survivor: &Survivor) -> Vec<String> {
    let (last, known) = (survivor.last.index, survivor.known.index);
    let text = |text: &str| text.to_owned();
    vec![
        text("WHAT MAY BE LOST, or be otherwise than clients were told:"),
        format!(
            "- Acknowledged writes behind entry {last}: this node never got them. Nobody can say how many there were."
        ),
        format!(
            "- {} ({} to {last}) are not known to have been committed. They count from now on, those too whose clients were told \
             of no outcome, or whose place another leader has given to others since.",
            offline::counted(last.0 - known.0, "entry", "entries"),
            known.next(),
        ),
        format!(
            "- A command whose entry is lost is executed again if its client sends it again, in a session or under an id; one that \
              is here gets its old answer. Sessions that were opened behind entry {known} have ended, {} of those here: their \
              numbers may have been given to others.",
            survivor.sessions_that_end()
        ),
        text(
            "- Leases keep their numbers. One that was granted behind that entry may be known to two clients, if they are the same \
              user's.",
        ),
        text(
            "- Locks, permits and offices stay with those who held them at the last entry, under new tokens, which they get by \
              asking again: with an old one they are refused. Work under an id can't be finished by who had it, and is begun again \
              when his time is over. Who was given one later loses it, and until its time is over two \
              may believe they hold it; only the tokens tell. All waits end.",
        ),
        text("- Watches can't go on from where they were: clients read anew what they follow."),
    ]
}

fn becomes(survivor: &Survivor) -> Vec<String> {
    vec![
        format!(
            "A NEW CLUSTER of the same name with node {} as its only voter, under an identity that is drawn then.",
            survivor.node()
        ),
        format!(
            "It goes on at position {} and term {}: {POSITIONS} positions beyond all that is known, so that no revision or token, \
             and no number from here on, is given out twice.",
            survivor.begins.index, survivor.begins.term
        ),
        "Every other directory of the old cluster is a stranger to it, for good: wipe it, and join with an empty one.".into(),
    ]
}

/// All that is kept: what the new cluster does without, and the hard state as it was.
fn aside(survivor: &Survivor) -> Vec<FileName> {
    let hard = [FileName::Hard(0), FileName::Hard(1)];
    survivor.aside.iter().copied().chain(hard).collect()
}

/// What directories with old files are called.
const ASIDE: &str = "before-recovery";

fn how(args: &RecoverArgs, word: &str) -> String {
    let seen = if args.seen > 0 { format!(" --seen {}", args.seen) } else { String::new() };
    format!("To do this:\n  steadfast recover --data-dir {}{seen} --accept {word}", args.data.display())
}

/// Does it, and looks at what has become of it.
fn accepted(args: &RecoverArgs, survivor: Survivor) -> Result<String, Refused> {
    let again = "run the same again once the disk works";
    let failed = |doing: &str, error: std::io::Error| {
        (
            EXIT_DISK,
            format!("{doing} in {} failed: {error}. Nothing was changed: {again}", args.data.display()),
        )
    };
    let seed =
        net::draw_seed().map_err(|error| (EXIT_FAILED, format!("can't read /dev/urandom: {error}")))?;
    let number = |from: usize| u64::from_le_bytes(std::array::from_fn(|at| seed[from + at]));
    let draws = Draws { incarnation: number(0), nonce: number(8) };
    let (node, begins, files) = (survivor.node(), survivor.begins, aside(&survivor));
    // The hard state is changed where it is, so that a second name would not keep it.
    let changed = |file: FileName| matches!(file, FileName::Hard(_));
    let aside = offline::put_aside(&args.data, ASIDE, &files, changed)
        .map_err(|error| failed("keeping the old files", error))?;
    let mut disk = Disk::new(&args.data).map_err(|error| failed("opening the directory", error))?;
    let mut recover = survivor.recover(draws);
    let cluster = recover.cluster();
    offline::drive(&mut disk, &mut recover, Recover::next_op, Recover::done).map_err(|reason| {
        (EXIT_DISK, format!("{reason}. The old files are in {}: {again}", aside.display()))
    })?;
    let after = offline::examine(&args.data).map_err(|text| (EXIT_DISK, text))?;
    let owner = after.report.owner.as_ref();
    if !after.report.is_intact()
        || after.report.log.last != begins
        || owner.and_then(|owner| owner.cluster) != Some(cluster)
    {
        let what = after.report.damage.first();
        let what = what.map_or(String::new(), |damage| format!(": {}: {}", damage.file, damage.what));
        return Err((
            EXIT_DISK,
            format!("what was just written is damaged{what}. The old files are in {}", aside.display()),
        ));
    }
    Ok(format!(
        "{} is the directory of node {node}, the only voter of cluster {cluster}, which begins at position {}. It was read back \
         and is intact.\n\
         {} in {}; remove that directory when nobody needs it any more.\n\
         Start the node with the options that it had, wipe the others, and join them: steadfast serve --join --id N --peer {node}=HOST:PORT",
        args.data.display(),
        begins.index,
        offline::counted(files.len() as u64, "old file is", "old files are"),
        aside.display()
    ))
}
