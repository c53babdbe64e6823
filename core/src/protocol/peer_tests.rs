//! The peer envelope: golden bytes, splits, damage and lengths that lie.

use proptest::prelude::*;

use super::*;

const LARGE: usize = 1 << 20;

fn header() -> PeerHeader {
    PeerHeader {
        kind: 3,
        group: 0,
        cluster: ClusterId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        from: NodeId(1),
        to: NodeId(2),
        incarnation: Incarnation(0xaabb),
        boot: BootNumber(7),
        nonce: 0x1122_3344_5566_7788,
    }
}

#[test]
fn an_envelope_has_the_bytes_that_are_documented() {
    let golden = Bytes::from_static(include_bytes!("../../../corpus/formats/native-peer.bin"));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&encode(&header(), b"append")), hex(&golden), "the envelope's format changed");
    assert_eq!(decode(&golden), Ok((header(), Bytes::from_static(b"append"))));
}

#[test]
fn a_body_is_a_part_of_its_frame_and_no_copy() {
    let frame = encode(&header(), b"append");
    let (_, body) = decode(&frame).expect("just written");
    assert_eq!(body.as_ptr(), frame[HEADER_BYTES..].as_ptr());
}

#[test]
fn no_truncation_extension_or_bit_flip_is_believed() {
    let frame = encode(&header(), b"append");
    for length in 0..frame.len() {
        assert!(decode(&frame.slice(..length)).is_err(), "cut at {length}");
    }
    let mut longer = frame.to_vec();
    longer.push(0);
    assert!(matches!(decode(&Bytes::from(longer)), Err(PeerFrameError::Length { found: 71, wanted: 70 })));
    for bit in 0..frame.len() * 8 {
        let mut damaged = frame.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&Bytes::from(damaged)).is_err(), "bit {bit}");
    }
}

#[test]
fn a_splitter_refuses_a_long_frame_by_its_header() {
    let mut frame = encode(&header(), b"append").to_vec();
    frame[56..60].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut splitter = PeerSplitter::new(LARGE);
    assert_eq!(splitter.push(&frame[..60]), Ok(vec![]));
    let error = splitter.push(&frame[60..]).expect_err("4 GiB");
    assert_eq!(error, PeerFrameError::TooLong { length: 64 + u64::from(u32::MAX), maximum: LARGE });
    assert_eq!(splitter.push(b"SFP1"), Err(error), "a refused stream stays refused");
    assert_eq!(splitter.buffered(), 0);
}

#[test]
fn a_splitter_tells_a_stranger_and_another_version() {
    let stranger = PeerSplitter::new(LARGE).push(b"GET / HTTP/1.1");
    assert_eq!(stranger, Err(PeerFrameError::Magic { found: b"GET ".to_vec() }));
    let later = PeerSplitter::new(LARGE).push(b"SFP1\x02");
    assert_eq!(later, Err(PeerFrameError::Version { found: 2 }));
}

#[test]
fn a_splitter_allocates_for_what_came_and_not_for_what_was_announced() {
    let mut frame = encode(&header(), b"").to_vec();
    frame[56..60].copy_from_slice(&(900_000u32).to_le_bytes());
    let mut splitter = PeerSplitter::new(LARGE);
    splitter.push(&frame).expect("so far acceptable");
    splitter.push(&[0; 100]).expect("so far acceptable");
    assert!(splitter.partial.capacity() < 100_000, "{} bytes", splitter.partial.capacity());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_splits_give_the_same_frames(
        lengths in prop::collection::vec(0usize..3000, 0..6),
        cuts in prop::collection::vec(0usize..12_000, 0..12),
    ) {
        let frames: Vec<Bytes> = lengths.iter().map(|&n| encode(&header(), &vec![n as u8; n])).collect();
        let bytes: Vec<u8> = frames.iter().flatten().copied().collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut splitter = PeerSplitter::new(LARGE);
        let mut got = Vec::new();
        for pair in cuts.windows(2) {
            got.extend(splitter.push(&bytes[pair[0]..pair[1]]).expect("a good stream"));
        }
        prop_assert_eq!(got, frames);
        prop_assert_eq!(splitter.buffered(), 0);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&Bytes::from(bytes.clone()));
        let mut framed = b"SFP1\x01".to_vec();
        framed.extend_from_slice(&bytes);
        let _ = decode(&Bytes::from(framed.clone()));
        let _ = PeerSplitter::new(100).push(&framed);
    }
}
