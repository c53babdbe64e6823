//! What a campaign prints: progress, totals, probes, and for every run that did not pass all that one needs
//! to see it again.

use std::fmt::Write as _;

use crate::campaign::Totals;
use crate::run::Verdict;

/// The last line of a campaign.
#[must_use]
pub fn totals_line(totals: &Totals, cpu_seconds: f64) -> String {
    format!(
        "seeds={} passed={} failed={} inconclusive={} ops={} faults={} sim_seconds={:.1} cpu_seconds={cpu_seconds:.1}",
        totals.seeds,
        totals.passed,
        totals.failed,
        totals.inconclusive,
        totals.ops,
        totals.faults,
        totals.sim_us as f64 / 1e6
    )
}

/// One line while the campaign runs.
#[must_use]
pub fn progress_line(totals: &Totals, seconds: f64) -> String {
    format!(
        "{} seeds, {} failed, {} inconclusive, {} ops, {:.0} simulated seconds in {seconds:.0} s",
        totals.seeds,
        totals.failed,
        totals.inconclusive,
        totals.ops,
        totals.sim_us as f64 / 1e6
    )
}

/// Everything for people. `source` is the schedule's file, if the campaign ran one.
#[must_use]
pub fn text(totals: &Totals, source: Option<&str>, cpu_seconds: f64) -> String {
    let mut text = String::new();
    for bad in &totals.bad {
        let (headline, judge, saw) = match &bad.verdict {
            Verdict::Passed => continue,
            Verdict::Failed { judge, what } => ("FAILED", judge.as_str(), what),
            Verdict::Inconclusive(why) => ("INCONCLUSIVE", "none", why),
        };
        let replay = source.map_or(bad.seed.to_string(), ToString::to_string);
        let saw = saw.replace('\n', "\n             ");
        let _ = write!(
            text,
            "{headline} seed {}\n  options    {}\n  judge      {judge}\n  saw        {saw}\n  \
             reproduce  steadfast-sim replay {replay} --trace\n\n",
            bad.seed, bad.options
        );
    }
    text.push_str("probes\n");
    for (name, count) in totals.probes.list() {
        let _ = writeln!(text, "  {count:>9}  {name}");
    }
    let missing = totals.missing_probes();
    if !missing.is_empty() {
        let _ = writeln!(
            text,
            "FAILED probes that never fired in {} seeds: {}",
            totals.seeds,
            missing.join(", ")
        );
    }
    if totals.too_inconclusive() {
        let _ =
            writeln!(text, "INCONCLUSIVE {} of {} runs, more than 1 %", totals.inconclusive, totals.seeds);
    }
    for unwritten in &totals.unwritten {
        let _ = writeln!(text, "FAILED to write a history: {unwritten}");
    }
    text.push_str(&totals_line(totals, cpu_seconds));
    text.push('\n');
    text
}

/// Everything for programs.
#[must_use]
pub fn json(totals: &Totals, cpu_seconds: f64) -> serde_json::Value {
    let bad = totals.bad.iter().map(|bad| {
        let (kind, judge, saw) = match &bad.verdict {
            Verdict::Passed => ("passed", None, ""),
            Verdict::Failed { judge, what } => ("failed", Some(judge), what.as_str()),
            Verdict::Inconclusive(why) => ("inconclusive", None, why.as_str()),
        };
        serde_json::json!({
            "seed": bad.seed, "verdict": kind, "judge": judge, "saw": saw, "options": bad.options,
            "reproduce": format!("steadfast-sim replay {} --trace", bad.seed),
        })
    });
    let probes: serde_json::Map<String, serde_json::Value> =
        totals.probes.list().into_iter().map(|(name, count)| (name, count.into())).collect();
    serde_json::json!({
        "seeds": totals.seeds, "passed": totals.passed, "failed": totals.failed,
        "inconclusive": totals.inconclusive, "ops": totals.ops, "faults": totals.faults,
        "events": totals.events, "sim_seconds": totals.sim_us as f64 / 1e6, "cpu_seconds": cpu_seconds,
        "probes": probes, "missing_probes": totals.missing_probes(), "runs": bad.collect::<Vec<_>>(),
        "unwritten": totals.unwritten,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{Bad, PROBES_FROM};
    use crate::probes::Probes;

    fn failed() -> Totals {
        let verdict =
            Verdict::Failed { judge: "receipts".into(), what: "GET c0 answers 3\nit must be 4".into() };
        let bad = vec![Bad { seed: 17, options: "nodes=3".into(), verdict }];
        Totals {
            seeds: 2,
            passed: 1,
            failed: 1,
            ops: 99,
            faults: 7,
            sim_us: 12_300_000,
            bad,
            ..Totals::default()
        }
    }

    #[test]
    fn a_failure_names_its_seed_its_judge_what_it_saw_and_the_command_that_reproduces_it() {
        let text = text(&failed(), None, 1.5);
        let block = text.split("\n\n").next().unwrap();
        insta::assert_snapshot!(block, @r"
        FAILED seed 17
          options    nodes=3
          judge      receipts
          saw        GET c0 answers 3
                     it must be 4
          reproduce  steadfast-sim replay 17 --trace
        ");
        assert!(text.ends_with(
            "seeds=2 passed=1 failed=1 inconclusive=0 ops=99 faults=7 sim_seconds=12.3 cpu_seconds=1.5\n"
        ));
    }

    #[test]
    fn the_exit_code_tells_failures_from_doubts_and_missing_probes_fail_only_campaigns() {
        assert_eq!(failed().exit_code(), 1);
        assert_eq!(Totals { seeds: 100, passed: 99, inconclusive: 1, ..Totals::default() }.exit_code(), 0);
        assert_eq!(Totals { seeds: 100, passed: 98, inconclusive: 2, ..Totals::default() }.exit_code(), 3);
        let campaign =
            Totals { seeds: PROBES_FROM, passed: PROBES_FROM, probes_must_fire: true, ..Totals::default() };
        assert_eq!(campaign.exit_code(), 1);
        assert_eq!(campaign.missing_probes(), Probes::default().missing());
        assert!(text(&campaign, None, 0.0).contains("FAILED probes that never fired in 200 seeds"));
        let lenient = Totals { probes_must_fire: false, ..campaign };
        assert_eq!(lenient.exit_code(), 0);
        assert!(!text(&lenient, None, 0.0).contains("FAILED"));
    }
}
