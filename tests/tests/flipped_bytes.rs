//! Bytes that change on the disks of stopped nodes. A node that is alone refuses to start and says where and what now;
//! a node of three refuses too, or mends itself from the others. What never happens is that something acknowledged is
//! not there, or that something else is. `STEADFAST_SEED` repeats the bytes of a failed run.
//!
//! `STEADFAST_BIN` runs this against another build. One that takes what can't be read for the torn end of the log must
//! fail it: `corpus/mutants/log-damage-cut-as-torn.patch`.

use std::thread::sleep;
use std::time::Duration;

use steadfast_tests::cluster::Cluster;
use steadfast_tests::damage::{Flip, Kept};
use steadfast_tests::ledger::{Ledger, value};
use steadfast_tests::load::Dice;
use steadfast_tests::process::Options;
use steadfast_tests::raw::RawClient;
use steadfast_tests::scratch::{Scratch, wait_for};

/// The length of a value.
const VALUE: usize = 300;
/// After so long an idle node has marked its last write as synced. Before that, rot looks like a torn write.
const MARKED: Duration = Duration::from_millis(100);
/// How often the dice choose a byte, in a node that is alone and in one of three.
const ALONE: u64 = 12;
const OF_THREE: usize = 5;

#[test]
fn a_lone_node_with_a_changed_byte_refuses_to_start_and_says_where() {
    let mut node = Lone::with_everything("flipped-bytes");
    // Long acknowledged, in the middle of the newest segment, and just before the end.
    for number in [155, 170, node.ledger.acknowledged() - 1] {
        let flip = node.kept.find("wal-", &value(number, VALUE));
        let said =
            node.after(std::slice::from_ref(&flip)).expect_err("a byte of an acknowledged write is missed");
        says_where(&said, &flip);
    }
    let said = node.after(&hard_state(&node.kept)).expect_err("without its term and vote no node starts");
    says_where(&said, &flip("hard-", 0));
    node.starts_with_everything();
}

#[test]
fn a_lone_node_with_any_changed_byte_refuses_to_start_or_has_everything() {
    let mut node = Lone::with_everything("flipped-bytes");
    let mut dice = dice();
    let mut refused = 0;
    for _ in 0..ALONE {
        let flip = draw(&mut dice, &node.kept);
        match node.after(std::slice::from_ref(&flip)) {
            Ok(()) => {}
            Err(said) => {
                says_where(&said, &flip);
                refused += 1;
            }
        }
    }
    eprintln!("{refused} of {ALONE} starts were refused");
    node.starts_with_everything();
}

#[test]
fn three_nodes_one_of_which_has_a_changed_byte_keep_everything() {
    let (mut cluster, ledger, kept) = three_with_everything("flipped-bytes");
    let mut dice = dice();
    for round in 0..OF_THREE {
        let victim = round % 3;
        let flips = match round {
            0 => vec![kept[victim].find("wal-", &value(170, VALUE))],
            1 => hard_state(&kept[victim]),
            _ => vec![draw(&mut dice, &kept[victim])],
        };
        let flip = &flips[0];
        flips.iter().for_each(|flip| flip.strike(&cluster.data(victim)));
        eprintln!("round {round}: node {}, {flip:?}", victim + 1);
        cluster.launch(victim);
        (0..3).filter(|place| *place != victim).for_each(|place| cluster.restart(place));
        let mut ledger = ledger.clone();
        let mut client = cluster.raw((victim + 1) % 3);
        assert_eq!(ledger.wrong(&mut client), [] as [&str; 0], "in round {round}, {flip:?}");
        ledger.write_all(&mut client, 10, VALUE);
        refuses_or_catches_up(&mut cluster, victim, flip, &ledger);
        let _ = cluster.stop();
        kept.iter().for_each(Kept::put_back);
    }
    (0..3).for_each(|place| cluster.restart(place));
    assert_eq!(ledger.wrong(&mut cluster.raw(0)), [] as [&str; 0]);
}

/// The story of "Protocol-Aware Recovery" (FAST'18): one node was away when a write was acknowledged by the other two,
/// and then one of these two loses it. Together they must not outvote the one that still has it.
#[test]
fn a_node_with_a_changed_byte_and_one_that_was_away_do_not_forget_what_the_third_knows() {
    let mut cluster = Cluster::start("flipped-bytes");
    let mut ledger = Ledger::default();
    cluster.make_leader(1);
    let mut client = cluster.raw(1);
    ledger.write_all(&mut client, 20, VALUE);
    cluster.kill(2);
    ledger.write_all(&mut client, 40, VALUE);
    assert_eq!(cluster.stop()[..2], [Some(0); 2]);
    let flip = Kept::of(&cluster.data(0)).find("wal-", &value(40, VALUE));
    flip.strike(&cluster.data(0));
    cluster.launch(0);
    cluster.restart(2);
    // Long enough to elect a leader and to let it commit something of its own, if these two would.
    sleep(Duration::from_secs(2));
    cluster.restart(1);
    let mut client = cluster.raw(1);
    assert_eq!(ledger.wrong(&mut client), [] as [&str; 0], "after {flip:?}");
    ledger.write_all(&mut client, 10, VALUE);
    refuses_or_catches_up(&mut cluster, 0, &flip, &ledger);
}

/// A node by itself, with everything that a data directory can hold.
struct Lone {
    _scratch: Scratch,
    options: Options,
    ledger: Ledger,
    kept: Kept,
}

impl Lone {
    fn with_everything(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let small = Options::single(&scratch.join("data")).small_files();
        let options = Options::single(&scratch.join("data"));
        let mut ledger = Ledger::default();
        for (options, count) in [(&small, 150), (&options, 50)] {
            let server = options.start();
            ledger.write_all(&mut server.raw(), count, VALUE);
            sleep(MARKED);
            assert_eq!(server.stop(), Some(0));
        }
        let kept = Kept::of(options.data());
        for kind in ["hard-", "snapshot-"] {
            assert!(!kept.files(kind).is_empty(), "there is a {kind} file");
        }
        assert!(kept.files("wal-").len() > 1, "there are several segments");
        Self { _scratch: scratch, options, ledger, kept }
    }

    /// Starts it with these bytes changed. Either everything is there, or it refuses, changes nothing, and the error is
    /// what it says.
    fn after(&mut self, flips: &[Flip]) -> Result<(), String> {
        self.kept.put_back();
        flips.iter().for_each(|flip| flip.strike(self.options.data()));
        let damaged = Kept::of(self.options.data());
        match self.options.try_start() {
            Ok(server) => {
                assert_eq!(
                    self.ledger.wrong(&mut server.raw()),
                    [] as [&str; 0],
                    "it started with {flips:?}"
                );
                server.kill();
                Ok(())
            }
            Err((code, said)) => {
                assert_eq!(code, 6, "with {flips:?}: {said}");
                let changed = damaged.changed(&Kept::of(self.options.data()));
                // Every start of a node whose hard state is whole counts itself there, before it reads the log.
                let counted = changed.iter().all(|file| file.starts_with("hard-"));
                assert!(counted, "{changed:?} changed at a start that was refused: {said}");
                Err(said)
            }
        }
    }

    /// The bytes are put back.
    fn starts_with_everything(&self) {
        self.kept.put_back();
        let server = self.options.start();
        assert_eq!(self.ledger.wrong(&mut server.raw()), [] as [&str; 0]);
        assert_eq!(server.stop(), Some(0));
    }
}

/// Three stopped nodes with everything, and what they hold.
fn three_with_everything(name: &str) -> (Cluster, Ledger, Vec<Kept>) {
    let mut cluster = Cluster::start_with(name, |_, options| options.files(64 << 10, 96 << 10));
    let mut ledger = Ledger::default();
    ledger.write_all(&mut cluster.raw(0), 200, VALUE);
    sleep(MARKED);
    assert_eq!(cluster.stop(), [Some(0); 3]);
    let kept: Vec<Kept> = (0..3).map(|place| Kept::of(&cluster.data(place))).collect();
    for kind in ["hard-", "wal-", "snapshot-"] {
        assert!(kept.iter().all(|kept| !kept.files(kind).is_empty()), "every node has a {kind} file");
    }
    (cluster, ledger, kept)
}

/// A damaged node either ends and names the file, or in the end knows what the others know.
fn refuses_or_catches_up(cluster: &mut Cluster, victim: usize, flip: &Flip, ledger: &Ledger) {
    let (user, password) = cluster.credentials();
    let address = cluster.addresses[victim].clone();
    let node = cluster.nodes[victim].as_mut().expect("it was started");
    let answers = wait_for("a damaged node to end or to answer", || match node.is_running() {
        true => RawClient::try_login(&address, &user, &password).map(|_| true),
        false => Some(false),
    });
    eprintln!("node {} {}", victim + 1, if answers { "has everything" } else { "refused" });
    if answers {
        cluster.make_leader(victim);
        assert_eq!(ledger.wrong(&mut cluster.raw(victim)), [] as [&str; 0], "as leader, after {flip:?}");
        return;
    }
    let mut node = cluster.nodes[victim].take().expect("it was started");
    let said = node.log_of_this_life();
    assert_eq!(node.wait(), Some(6), "{said}");
    says_where(&said, flip);
}

/// One byte of every record of the hard state, in both of its files.
fn hard_state(kept: &Kept) -> Vec<Flip> {
    let files = kept.files("hard-").into_iter();
    files.flat_map(|(file, len)| (40..len).step_by(512).map(|offset| flip(file, offset))).collect()
}

/// The refusal names the file, a place in it, and the way out.
fn says_where(said: &str, flip: &Flip) {
    // Where nothing of either file can be read, there is no place to name.
    let place = said.contains("offset") || said.contains("neither hard-0 nor hard-1 holds a whole record");
    assert!(place, "no place is said of {flip:?}:\n{said}");
    for part in [flip.file.as_str(), "Nothing was changed", "put back an intact copy"] {
        assert!(said.contains(part), "{part:?} is not said of {flip:?}:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// Any byte of any file that the core writes; of a log's many zeros only every so often one.
fn draw(dice: &mut Dice, kept: &Kept) -> Flip {
    let kind = ["hard-", "wal-", "wal-", "snapshot-"][dice.below(4) as usize];
    let files = kept.files(kind);
    let (file, len) = files[dice.below(files.len() as u64) as usize];
    let bits = 1 << dice.below(8);
    Flip { file: file.to_owned(), offset: dice.below(len.min(24 << 10)), bits }
}

fn flip(file: &str, offset: u64) -> Flip {
    Flip { file: file.to_owned(), offset, bits: 1 }
}

fn dice() -> Dice {
    let seed = std::env::var("STEADFAST_SEED")
        .map_or(u64::from(std::process::id()), |text| text.parse().expect("a seed is a number"));
    eprintln!("to repeat this: STEADFAST_SEED={seed}");
    Dice(seed)
}
