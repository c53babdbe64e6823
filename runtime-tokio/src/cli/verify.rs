//! `steadfast verify`: reads everything in a data directory of a stopped node, says what each file is and what is damaged,
//! and changes nothing.

use std::path::PathBuf;

use clap::Args;
use steadfast_core::verify::{Consequence, FileReport, Report, Standing, Verified};

use super::{EXIT_FAILED, EXIT_OK, EXIT_USAGE, complain, offline, render, say};
use crate::server::datadir::DataDir;

/// Options of `steadfast verify`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "EXIT CODES\n  0  everything is intact\n  1  something is damaged\n  2  usage, or it can't be read"
)]
pub struct VerifyArgs {
    /// The data directory
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it; gives the exit code.
#[must_use]
pub fn main(args: &VerifyArgs) -> u8 {
    match examine(args) {
        Ok(verified) => {
            let report = &verified.report;
            let text = if args.json { json(args, &verified).to_string() } else { text(args, &verified) };
            let _ = say(text.as_bytes());
            if report.is_intact() { EXIT_OK } else { EXIT_FAILED }
        }
        Err(text) => {
            complain(&text);
            EXIT_USAGE
        }
    }
}

fn examine(args: &VerifyArgs) -> Result<Verified, String> {
    let reader = DataDir::read(&args.data).map_err(|error| offline::unavailable(&error))?;
    let verified = offline::examine(&args.data)?;
    if !reader.is_undisturbed() {
        return Err(format!(
            "a server has begun to use {} meanwhile: stop it, and verify again",
            args.data.display()
        ));
    }
    Ok(verified)
}

/// The report as people read it.
fn text(args: &VerifyArgs, verified: &Verified) -> String {
    let report = &verified.report;
    let mut lines = vec![format!("{:<10}{}", "directory", args.data.display()), owner(report), log(report)];
    lines.push(String::new());
    lines.extend(files(report));
    for damage in &report.damage {
        lines.push(String::new());
        lines.push(format!(
            "damaged   {} at offset {}: {}",
            damage.file,
            damage.offset,
            render::clean(&damage.what)
        ));
        lines.push(format!("{:<10}{}", "", damage.consequence));
    }
    for note in &report.notes {
        lines.push(String::new());
        lines.push(format!("note      {} at offset {}: {}", note.file, note.offset, note.what));
    }
    lines.push(String::new());
    lines.extend(verdict(args, verified));
    lines.join("\n")
}

fn owner(report: &Report) -> String {
    let Some(owner) = &report.owner else { return format!("{:<10}unknown", "node") };
    let cluster = match owner.members {
        0 => "which is not founded yet".to_owned(),
        1 => "alone".to_owned(),
        members => format!("one of {members}"),
    };
    let doubt = if owner.in_doubt { ", in doubt of term and vote" } else { "" };
    format!(
        "{:<10}{} of cluster \"{}\", {cluster}; boot {}, term {}{doubt}",
        "node",
        owner.node,
        render::clean(&owner.cluster_name),
        owner.boot,
        owner.term
    )
}

fn log(report: &Report) -> String {
    let log = &report.log;
    let snapshot = match log.covered.index.0 {
        0 => "no snapshot".to_owned(),
        index => format!("a snapshot of entry {index}"),
    };
    let entries = match log.entries {
        0 => "no entries".to_owned(),
        _ => format!(
            "{}, the last is {} of term {}",
            offline::counted(log.entries, "entry", "entries"),
            log.last.index,
            log.last.term
        ),
    };
    let lost =
        if log.lost.is_empty() { String::new() } else { format!("; lost: {}", offline::runs(&log.lost)) };
    format!("{:<10}{snapshot}, and {entries}{lost}", "state")
}

/// What became of a file, in a word.
fn state(report: &Report, file: &FileReport) -> &'static str {
    match (report.is_file_intact(file.file), file.standing) {
        (false, _) => "damaged",
        (true, Standing::Needed) => "intact",
        (true, Standing::Spare) => "unused",
        (true, Standing::Unchecked) => "unchecked",
    }
}

fn files(report: &Report) -> Vec<String> {
    let mut lines = vec![format!("{:<25} {:>10} {:>10}  {:<9}  {}", "file", "bytes", "in use", "is", "what")];
    lines.extend(report.files.iter().map(|file| {
        format!(
            "{:<25} {:>10} {:>10}  {:<9}  {}",
            file.file.to_string(),
            file.bytes,
            file.used,
            state(report, file),
            file.what
        )
    }));
    lines
}

/// Whether the node would start, and what to do.
fn verdict(args: &VerifyArgs, verified: &Verified) -> Vec<String> {
    let (report, data) = (&verified.report, args.data.display());
    if report.is_intact() {
        return vec!["intact: everything that was durable can be read, and fits together".into()];
    }
    let number = offline::counted(report.damage.len() as u64, "place", "places");
    let mut lines = vec![format!("damaged in {number}. What to do:")];
    if report.starts_alone() {
        lines.push("- Start the node: it loses nothing.".into());
        if report.damage.iter().any(|damage| damage.consequence == Consequence::Unnoticed) {
            lines.pop();
            lines.push("- Don't start the node: it would not notice. Put back an intact copy of this very state of the directory.".into());
        }
    } else if report.starts_in_a_cluster() && report.is_alone() == Some(false) {
        lines.push("- Start the node: it fetches what it lost from the other nodes, and takes part again when it has everything.".into());
    } else {
        lines.push("- Mend the disk, or put back an intact copy of this very state of the directory.".into());
        if report.is_alone() != Some(true) {
            lines.push("- If a majority of the cluster is healthy without this node, start it with an empty directory.".into());
        }
        let beyond = report.damage.iter().any(|damage| damage.consequence == Consequence::Refuses);
        if let Some(most) = verified.last_whole().filter(|_| !beyond) {
            lines.push(format!(
                "- The last resort gives up acknowledged writes: `steadfast repair {data} --discard-after {most}` says which."
            ));
        }
    }
    lines.push("- Look into the system's log (dmesg) about the disk: what rots once rots again.".into());
    lines
}

fn json(args: &VerifyArgs, verified: &Verified) -> serde_json::Value {
    use serde_json::json;
    let report = &verified.report;
    let place = |file: String, offset: u64, what: &str| json!({"file": file, "offset": offset, "what": what});
    let damage = report.damage.iter().map(|damage| {
        let mut value = place(damage.file.to_string(), damage.offset, &damage.what);
        value["consequence"] = damage.consequence.name().into();
        value
    });
    let owner = report.owner.as_ref().map(|owner| {
        json!({
            "node": owner.node.0, "incarnation": owner.incarnation.to_string(), "cluster_name": owner.cluster_name,
            "cluster": owner.cluster.map(|cluster| cluster.to_string()), "members": owner.members,
            "boot": owner.boot.0, "term": owner.term.0, "in_doubt": owner.in_doubt,
        })
    });
    let log = &report.log;
    json!({
        "directory": args.data.display().to_string(),
        "intact": report.is_intact(),
        "starts_alone": report.starts_alone(),
        "starts_in_a_cluster": report.starts_in_a_cluster(),
        "owner": owner,
        "log": {
            "snapshot": log.covered.index.0, "entries": log.entries, "last": log.last.index.0,
            "last_term": log.last.term.0, "more_lost": log.more_lost,
            "lost": log.lost.iter().map(|(from, to)| [from.0, to.0]).collect::<Vec<_>>(),
            "last_whole": verified.last_whole().map(|index| index.0),
        },
        "files": report.files.iter().map(|file| json!({
            "file": file.file.to_string(), "what": file.what, "bytes": file.bytes, "used": file.used,
            "state": state(report, file),
        })).collect::<Vec<_>>(),
        "damage": damage.collect::<Vec<_>>(),
        "notes": report.notes.iter()
            .map(|note| place(note.file.to_string(), note.offset, &note.what)).collect::<Vec<_>>(),
    })
}
