//! The log's bytes, pinned: what was written once must stay readable, and what is documented must be true.

use super::rig::Machine;
use crate::io::FileName;
use crate::testdisk::hexdump;
use crate::types::Index;

const SEGMENT: &[u8] = include_bytes!("../../../../corpus/formats/wal-segment-v2.bin");
const DOCS: &str = include_str!("../../../../docs/formats.md");

/// The first segment of a log with two entries and its idle mark.
fn written() -> Machine {
    let mut machine = Machine::new(4096, 2048);
    let mut rig = machine.start().expect("starts");
    rig.append(Index(1), crate::types::Term(1), b"one".to_vec().into());
    rig.append(Index(2), crate::types::Term(1), b"second".to_vec().into());
    rig.settle_marked().expect("settles");
    machine
}

#[test]
fn a_segment_is_written_as_pinned() {
    let machine = written();
    let bytes = machine.disk.bytes(FileName::Wal(1));
    assert!(bytes == SEGMENT, "the format changed; it is now\n{}", hexdump(bytes));
}

#[test]
fn the_pinned_segment_is_read() {
    let mut machine = written();
    machine.disk.tamper(FileName::Wal(1), |bytes| SEGMENT.clone_into(bytes));
    let log = machine.model.log(2);
    assert_eq!(machine.recover().expect("recovers"), log);
}

#[test]
fn the_documentation_shows_the_pinned_segment() {
    assert!(DOCS.contains(&hexdump(SEGMENT)), "docs/formats.md must show\n{}", hexdump(SEGMENT));
}
