//! Feature levels, as a judge understands them: nothing is logged before the level that it belongs to, and the level never falls. It
//! reads the kinds from the log's bytes; which kind belongs to which level stands in docs/formats.md, and here once more.

use steadfast_core::state::effect::{Cause, Effect, Entry};
use steadfast_core::time::Millis;

use super::log::LogEntry;
use super::{Stop, Verdict, fail};

/// This judge's name.
pub const JUDGE: &str = "levels";

/// The level of each kind of effect by its number, from 1 on.
const LEVELS: [u32; 27] = {
    let mut levels = [1; 27];
    (levels[0], levels[1]) = (0, 0);
    let mut kind = 12;
    while kind <= 27 {
        levels[kind - 1] = if kind < 25 { 2 } else { 3 };
        kind += 1;
    }
    levels
};

/// Where the kind of an entry's first effect stands: behind version, time, cause and count, of one byte each in an entry that has no
/// time and one effect.
const KIND_AT: usize = 4;

/// Judges a final log.
pub fn judge(log: &[LogEntry]) -> Verdict {
    Stop::verdict(run(log), JUDGE)
}

fn run(log: &[LogEntry]) -> Result<(), Stop> {
    let mut level = 0;
    for LogEntry { index, entry, .. } in log {
        for effect in &entry.effects {
            if let Effect::Level(next) = effect {
                if *next <= level {
                    fail!("entry {index} goes from level {level} to {next}");
                }
                level = *next;
            }
        }
        for effect in &entry.effects {
            let kind = kind_of(effect);
            let needs = usize::from(kind).checked_sub(1).and_then(|at| LEVELS.get(at)).copied();
            if needs.is_none_or(|needs| needs > level) {
                fail!("entry {index} holds an effect of kind {kind} at level {level}");
            }
        }
    }
    Ok(())
}

fn kind_of(effect: &Effect) -> u8 {
    let cause = if effect.concerns_members() { Cause::Members } else { Cause::System };
    Entry { time: Millis(0), cause, effects: vec![effect.clone()] }.encode()[KIND_AT]
}

#[cfg(test)]
mod tests {
    use steadfast_core::types::{Index, Term};

    use super::*;

    fn log(entries: &[&[Effect]]) -> Vec<LogEntry> {
        let entry = |effects: &&[Effect]| Entry {
            time: Millis(1),
            cause: if effects.iter().any(Effect::concerns_members) { Cause::Members } else { Cause::System },
            effects: effects.to_vec(),
        };
        let entries = entries.iter().zip(1..);
        entries
            .map(|(effects, at)| LogEntry { index: Index(at), term: Term(1), entry: entry(effects) })
            .collect()
    }

    const SPARED: Effect = Effect::LeasesSpared;

    #[test]
    fn what_belongs_to_the_level_passes() {
        assert_eq!(
            judge(&log(&[&[Effect::Level(1)], &[Effect::Level(2), SPARED], &[SPARED]])),
            Verdict::Passed
        );
    }

    #[test]
    fn what_is_logged_too_early_and_a_level_that_falls_are_found() {
        let located = Effect::Located { node: steadfast_core::types::NodeId(1), address: None };
        for (broken, what) in [
            (log(&[&[Effect::Level(1)], &[SPARED]]), "entry 2 holds an effect of kind 19 at level 1"),
            (log(&[&[Effect::Level(2)], &[located]]), "entry 2 holds an effect of kind 26 at level 2"),
            (log(&[&[Effect::Level(2)], &[Effect::Level(1)]]), "entry 2 goes from level 2 to 1"),
        ] {
            assert_eq!(judge(&broken).to_string(), format!("failed: levels: {what}"));
        }
    }
}
