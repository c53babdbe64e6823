//! A real cluster loses the majority of its voters with their disks, and is recovered from the one that is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use steadfast_core::verify::POSITIONS;
use steadfast_tests::binary;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::process::{Options, run, text};
use steadfast_tests::scratch::wait_for;

/// The exit code, and everything that was said.
fn said(output: &Output) -> (i32, String) {
    let code = output.status.code().expect("it ended by itself");
    (code, text(&output.stdout) + &text(&output.stderr))
}

/// Runs `steadfast recover` on a directory.
fn recover(data: &Path, args: &[&str]) -> (i32, String) {
    let mut command = binary::command();
    command.args(["recover", "--data-dir"]).arg(data).args(args);
    said(&run(command, b""))
}

/// The word that a dry run names.
fn word(said: &str) -> String {
    let word = said.split("--accept ").nth(1).and_then(|rest| rest.split_whitespace().next());
    word.unwrap_or_else(|| panic!("a word is named: {said}")).to_owned()
}

/// An operator, who knows the administrator's password.
struct Operator {
    user: String,
    password_file: PathBuf,
}

impl Operator {
    fn of(cluster: &Cluster) -> Self {
        let ((user, password), password_file) = (cluster.credentials(), cluster.scratch().join("password"));
        fs::write(&password_file, password).expect("writable");
        Self { user, password_file }
    }

    fn run(&self, words: &[&str], address: &str) -> Output {
        let mut command = binary::command();
        command.args([words[0], "--addr", address, "--user", &self.user, "--password-file"]);
        command.arg(&self.password_file).args(&words[1..]);
        run(command, b"")
    }

    /// What a command prints; it must succeed.
    fn ask(&self, address: &str, words: &[&str]) -> String {
        let output = self.run(&[&["cli", "--retry", "30s"], words].concat(), address);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// The token under which an owner gets a lock for a minute.
    fn lock(&self, address: &str, name: &str, owner: &str) -> u64 {
        let said = self.ask(address, &["LOCK", "ACQUIRE", name, owner, "PX", "60000"]);
        let line = said.lines().find(|line| line.contains("token")).expect("a token is given");
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a token is a number")
    }

    /// Takes a step that must be done within its time.
    fn step(&self, address: &str, words: &[&str]) {
        let output = self.run(&[&["cluster"], words].concat(), address);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).expect("it can be created");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is there");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("it can be copied");
    }
}

#[test]
fn a_cluster_is_recovered_from_one_node_and_gives_nothing_out_twice() {
    let mut cluster = Cluster::start_with("recover", |_, options| options.small_files());
    let operator = Operator::of(&cluster);
    let place = cluster.leader();
    let survivor = (cluster.addresses[place].clone(), cluster.data(place), (place + 1).to_string());
    let (address, data, number) = &survivor;
    let value = "v".repeat(1000);
    for key in 1..=100 {
        operator.ask(address, &["SET", &format!("order-{key:03}"), &value]);
    }
    let kept = operator.lock(address, "printer", "ann");
    let others: Vec<usize> = cluster.places().filter(|other| *other != place).collect();
    // What happens from here on this node never gets to know.
    assert_eq!(cluster.nodes[place].take().expect("it runs").stop(), Some(0));
    let elsewhere = cluster.addresses[cluster.leader()].clone();
    operator.ask(&elsewhere, &["SET", "order-101", "lost"]);
    let mut lost = 0;
    for _ in 0..20 {
        lost = operator.lock(&elsewhere, "scanner", "bob");
        operator.ask(&elsewhere, &["LOCK", "RELEASE", "scanner", &lost.to_string()]);
    }
    assert!(lost > kept);

    // Both others burn down; of one an old copy turns up later.
    let old = others[0];
    cluster.kill(old);
    copy_all(&cluster.data(old), &cluster.scratch().join("found"));
    cluster.kill(others[1]);
    others.iter().for_each(|other| fs::remove_dir_all(cluster.data(*other)).expect("it was there"));

    let (code, refused) = recover(data, &["--accept", "00000000"]);
    assert!(code == 1 && refused.contains("nothing was changed"), "{refused}");
    let (code, proposal) = recover(data, &[]);
    assert_eq!(code, 0, "{proposal}");
    for part in
        ["WHAT MAY BE LOST", "Acknowledged writes", "100 keys", "before-recovery-1", "voter, this one"]
    {
        assert!(proposal.contains(part), "{part} in {proposal}");
    }
    let (code, done) = recover(data, &["--accept", &word(&proposal)]);
    assert_eq!(code, 0, "{done}");
    assert!(data.join("before-recovery-1").join("hard-0").exists(), "what was there is kept");
    let (code, again) = recover(data, &[]);
    assert!(code == 1 && again.contains("start it"), "it is done once: {again}");

    cluster.restart(place);
    assert_eq!(operator.ask(address, &["GET", "order-100"]), format!("\"{value}\""));
    assert_eq!(operator.ask(address, &["EXISTS", "order-001", "order-100", "order-101"]), "(integer) 2");
    let shown = operator.ask(address, &["LOCK", "SHOW", "printer"]);
    assert!(shown.contains("ann"), "who held a lock holds it: {shown}");
    let refused = operator.run(&["cli", "LOCK", "ACQUIRE", "printer", "bob", "PX", "1000"], address);
    assert_eq!(text(&refused.stdout), "(nil)", "and nobody else does");
    let fenced = operator.run(&["cli", "LOCK", "RENEW", "printer", &kept.to_string()], address);
    assert!(text(&fenced.stderr).contains("FENCED"), "but not under its old token: {}", text(&fenced.stderr));
    let (new, anns) = (operator.lock(address, "scanner", "bob"), operator.lock(address, "printer", "ann"));
    assert!(new > lost + POSITIONS / 2 && anns > lost + POSITIONS / 2, "{new} and {anns} after {lost}");

    // The old directory is a stranger, and both are told.
    copy_all(&cluster.scratch().join("found"), &cluster.data(old));
    cluster.launch(old);
    for at in [place, old] {
        wait_for("a node to name the stranger", || {
            let log = cluster.nodes[at].as_ref().expect("it runs").log_of_this_life();
            (log.contains("belongs to another cluster") && log.contains("--join")).then_some(())
        });
    }
    assert_eq!(operator.ask(address, &["EXISTS", "order-101"]), "(integer) 0");
    cluster.kill(old);
    fs::remove_dir_all(cluster.data(old)).expect("it was there");

    // Wiped, both come back, and then the cluster bears the loss of a node again.
    for other in &others {
        let (id, listen) = ((other + 1).to_string(), &cluster.addresses[*other]);
        let args = ["--join", "--id", &id, "--listen", listen, "--peer", &format!("{number}={address}")];
        cluster.nodes[*other] = Some(Options::new(&cluster.data(*other), args).launch());
        operator.step(address, &["add", &id, listen]);
        operator.step(address, &["promote", &id]);
    }
    operator.step(address, &["transfer", &(others[0] + 1).to_string()]);
    cluster.kill(place);
    let address = &cluster.addresses[others[0]];
    assert_eq!(operator.ask(address, &["GET", "order-001"]), format!("\"{value}\""));
    assert_eq!(operator.ask(address, &["SET", "order-102", "paid"]), "OK");
    assert!(operator.lock(address, "plotter", "eve") > new);
}

#[test]
fn only_a_survivor_of_several_that_is_stopped_and_whole_is_recovered() {
    let mut cluster = Cluster::start("recover-not");
    let operator = Operator::of(&cluster);
    let place = cluster.leader();
    let data = cluster.data(place);
    operator.ask(&cluster.addresses[place], &["SET", "order", "paid"]);
    let (code, used) = recover(&data, &[]);
    assert!(code == 2 && used.contains("stop it first"), "{used}");
    let (code, missing) = recover(&cluster.scratch().join("nothing"), &[]);
    assert_eq!(code, 2, "{missing}");
    assert_eq!(cluster.stop(), [Some(0); 3]);
    let (code, proposal) = recover(&data, &["--seen", "1000000"]);
    let seen = (1_000_000 + POSITIONS).to_string();
    assert!(code == 0 && proposal.contains(&seen) && proposal.contains("--seen 1000000"), "{proposal}");
    let (code, other) = recover(&data, &["--accept", &word(&proposal)]);
    assert!(code == 1 && other.contains("not the word"), "a word fits one beginning: {other}");
    let (code, most) = recover(&data, &["--seen", &u64::MAX.to_string()]);
    assert!(code == 1 && most.contains("lower position"), "{most}");
    // Nothing was written: the three go on together.
    (0..3).for_each(|place| cluster.restart(place));
    let address = cluster.addresses[cluster.leader()].clone();
    assert_eq!(operator.ask(&address, &["GET", "order"]), "\"paid\"");
}
