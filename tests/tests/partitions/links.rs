//! Whether a cut does what it says.

use std::process::Command;

use steadfast_tests::namespaces::{Network, inside};
use steadfast_tests::scratch::wait_for;

#[test]
fn a_link_is_cut_in_one_direction_and_no_other() {
    inside("links::a_link_is_cut_in_one_direction_and_no_other", || {
        let network = Network::new(3);
        let ways = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
        for cut in ways {
            network.cut([cut]);
            let mut heard = [0, 1, 2].map(|place| datagrams(&network, place));
            send(&network, cut);
            for way in ways.into_iter().filter(|way| *way != cut) {
                send(&network, way);
                heard[way.1] += 1;
                wait_for("a datagram", || (datagrams(&network, way.1) >= heard[way.1]).then_some(()));
            }
            assert_eq!([0, 1, 2].map(|place| datagrams(&network, place)), heard, "{cut:?} is cut");
        }
        network.heal();
        let heard = datagrams(&network, 1);
        send(&network, (2, 1));
        wait_for("a datagram", || (datagrams(&network, 1) > heard).then_some(()));
    });
}

/// Sends one to a port at which nobody listens.
fn send(network: &Network, (from, to): (usize, usize)) {
    let address = network.addresses()[to].replace(':', "/");
    at(network, from, &["bash", "-c", &format!("echo > /dev/udp/{address}")]);
}

/// How many came for nobody.
fn datagrams(network: &Network, place: usize) -> u64 {
    let counters = at(network, place, &["cat", "/proc/net/snmp"]);
    let counts = counters.lines().filter(|line| line.starts_with("Udp: ")).nth(1).expect("Linux counts them");
    counts.split(' ').nth(2).and_then(|count| count.parse().ok()).expect("the second count is of such")
}

fn at(network: &Network, place: usize, args: &[&str]) -> String {
    let enter = network.enter(place);
    let output = Command::new(&enter[0]).args(&enter[1..]).args(args).output().expect("it can be run");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}
