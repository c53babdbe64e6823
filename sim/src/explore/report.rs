//! What an exploration prints: figures in stable columns, and for every failure what one needs to see it again.

use std::fmt::Write as _;

use super::image::Image;
use super::judge::Found;
use super::recording::Recording;
use super::search::{Failure, Name, Totals};
use super::variants::Variants;

/// The name of an image, as `--only` takes it.
#[must_use]
pub fn name(name: Name) -> String {
    let outer = format!("{}:{}", name.outer.0, name.outer.1);
    name.inner.map_or(outer.clone(), |(boundary, variant)| format!("{outer}/{boundary}:{variant}"))
}

/// The name in a text.
///
/// # Errors
/// What is no name.
pub fn parse_name(text: &str) -> Result<Name, String> {
    let pair = |text: &str| {
        let (boundary, variant) = text.split_once(':')?;
        Some((boundary.parse().ok()?, variant.parse().ok()?))
    };
    let parsed = match text.split_once('/') {
        None => pair(text).map(|outer| Name { outer, inner: None }),
        Some((outer, inner)) => {
            pair(outer).zip(pair(inner)).map(|(outer, inner)| Name { outer, inner: Some(inner) })
        }
    };
    parsed.ok_or_else(|| format!("{text} names no image; write BOUNDARY:VARIANT as a failure shows it"))
}

fn command(totals: &Totals, failure: &Failure) -> String {
    let thorough = if totals.thorough { " --thorough" } else { "" };
    format!(
        "steadfast-sim explore --crash-points --seed {} --nodes {}{thorough} --only {}",
        totals.seed,
        totals.nodes,
        name(failure.name)
    )
}

/// Everything for people.
#[must_use]
pub fn text(totals: &Totals) -> String {
    let mut text = String::new();
    for (count, failure) in &totals.failures {
        let _ = write!(
            text,
            "FAILED image {}\n  where      node {}, {}, in the step \"{}\"\n  crash      {}\n  saw        {}\n  \
             alike      {count}\n  reproduce  {}\n\n",
            name(failure.name),
            failure.node,
            failure.point,
            failure.step,
            failure.kind,
            failure.what.replace('\n', "\n             "),
            command(totals, failure)
        );
    }
    for what in &totals.unrecorded {
        let _ = writeln!(text, "FAILED the recording: {what}");
    }
    let _ = writeln!(text, "the script brought about");
    for (what, count) in &totals.happened {
        let _ = writeln!(text, "  {count:>9}  {what}");
    }
    let _ = writeln!(text, "boundaries    covered     images  after");
    for (point, count) in &totals.points {
        let _ =
            writeln!(text, "{:>10} {:>10} {:>10}  {point}", count.boundaries, count.covered, count.images);
    }
    let _ = writeln!(text, "    images  of them");
    for (kind, count) in &totals.kinds {
        let _ = writeln!(text, "{count:>10}  {kind}");
    }
    text.push_str(&totals_line(totals));
    text.push('\n');
    text
}

/// The last line of an exploration.
#[must_use]
pub fn totals_line(totals: &Totals) -> String {
    let (boundaries, covered) = totals.boundaries();
    let share = if boundaries == 0 { 0.0 } else { covered as f64 * 100.0 / boundaries as f64 };
    format!(
        "nodes={} boundaries={boundaries} covered={covered} ({share:.1}%) moments={} recoveries={} inner_boundaries={} \
         images={} distinct={} judged={} failed={} seconds={:.1} images_per_second={:.0}",
        totals.nodes,
        totals.moments,
        totals.recoveries,
        totals.inner_boundaries,
        totals.images,
        totals.distinct,
        totals.judged,
        totals.failed,
        totals.seconds,
        totals.distinct as f64 / totals.seconds.max(0.001)
    )
}

/// Everything for programs.
#[must_use]
pub fn json(totals: &Totals) -> serde_json::Value {
    let (boundaries, covered) = totals.boundaries();
    let points = totals.points.iter().map(|(point, count)| {
        serde_json::json!({
            "after": point.to_string(), "boundaries": count.boundaries, "covered": count.covered, "images": count.images,
        })
    });
    let failures = totals.failures.iter().map(|(count, failure)| {
        serde_json::json!({
            "image": name(failure.name), "alike": count, "node": failure.node, "after": failure.point.to_string(),
            "step": failure.step, "crash": failure.kind, "saw": failure.what,
            "reproduce": command(totals, failure),
        })
    });
    let happened: serde_json::Map<String, serde_json::Value> =
        totals.happened.iter().map(|(what, count)| ((*what).into(), (*count).into())).collect();
    serde_json::json!({
        "nodes": totals.nodes, "seed": totals.seed, "thorough": totals.thorough, "boundaries": boundaries,
        "covered": covered, "moments": totals.moments, "recoveries": totals.recoveries,
        "inner_boundaries": totals.inner_boundaries, "images": totals.images, "distinct": totals.distinct,
        "judged": totals.judged, "failed": totals.failed, "seconds": totals.seconds, "script": happened,
        "unrecorded": totals.unrecorded, "points": points.collect::<Vec<_>>(), "crashes": totals.kinds,
        "failures": failures.collect::<Vec<_>>(),
    })
}

/// One image: what was on the disk, what was found, and the verdict.
#[must_use]
pub fn only(
    recording: &Recording,
    boundary: usize,
    variants: &Variants,
    variant: usize,
    image: &Image,
    found: &Found,
    verdict: &Result<(), String>,
) -> String {
    let at = &recording.boundaries[boundary];
    let step = recording.steps[at.step];
    let mut text =
        format!("boundary {boundary}: node {}, {}, in the step \"{step}\"\n", at.node + 1, at.point);
    let _ = writeln!(text, "promised  {}", at.ledger.describe());
    let _ = writeln!(text, "crash     variant {variant} of {}: {}", variants.len(), variants.kind(variant));
    for line in variants.describe(variant) {
        let _ = writeln!(text, "          {line}");
    }
    for (file, content) in &image.files {
        let used = content.bytes().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let len = content.bytes().len();
        let _ = writeln!(text, "disk      {file}, {len} bytes, zeros from {used} on");
    }
    let _ = writeln!(text, "found     {}", found.describe());
    let _ = match verdict {
        Ok(()) => writeln!(text, "verdict   passed"),
        Err(what) => writeln!(text, "verdict   failed: {what}"),
    };
    text
}
