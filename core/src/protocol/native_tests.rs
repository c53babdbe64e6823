//! The native protocol: golden bytes, splits, truncations, damage and garbage.

use proptest::prelude::*;

use super::*;
use crate::protocol::frame::{Decoder, FrameError, HEADER_BYTES};
use crate::reply::{Receipt, Value};
use crate::time::{Micros, Millis};
use crate::types::{Index, Term};

const LARGE: usize = 1 << 20;

fn hello() -> Hello {
    Hello {
        versions: (1, 1),
        max_frame: 8 << 20,
        client: "counter-service".into(),
        client_version: "0.1.0".into(),
        cluster: Some("prod".into()),
        auth: Some((Blob::from("root"), "correct horse".into())),
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        max_frame: 8 << 20,
        node: NodeId(2),
        cluster: "prod".into(),
        leader: Some((NodeId(3), "10.0.0.3:7001".into())),
        authenticated: true,
        inflight_requests: 1024,
        inflight_bytes: 16 << 20,
        session_window: 256,
        deadline_ms: 60_000,
    }
}

fn request() -> Request {
    Request {
        id: Uuid::from_u128(0x0011_2233_4455_4677_8899_aabb_ccdd_eeff),
        once: Some(Once { session: SessionId(77), seq: 9, floor: 4 }),
        deadline_ms: 1500,
        trace: Some(Uuid::from_u128(1)),
        unknowns: 2,
        args: vec![Blob::from("SET"), Blob::from("k"), Blob::from(&[0u8, 255][..])],
    }
}

fn response() -> Response {
    let every_value = Value::List(vec![
        Value::Nil,
        Value::ok(),
        Value::Int(-2),
        Value::Bytes(Blob::from(&[0u8, 1][..])),
        Value::Map(vec![("role".into(), Value::Status("leader".into()))]),
    ]);
    Response {
        id: Uuid::from_u128(0x0011_2233_4455_4677_8899_aabb_ccdd_eeff),
        reply: Reply {
            outcome: Ok(every_value),
            receipt: Some(Receipt::durable(Index(41), Millis(1_700_000_000_123))),
        },
        node: NodeId(3),
    }
}

fn refusal() -> Response {
    let waited = Micros::from_millis(120);
    let failure = Failure::overloaded("100000 requests wait: try again later", waited);
    Response { id: Uuid::from_u128(5), reply: Reply::refused(failure), node: NodeId(1) }
}

fn goodbye() -> ServerFrame {
    ServerFrame::Goodbye(Failure::new(ErrorCode::WrongCluster, "this is 'test', not 'prod'"))
}

fn one<M: Message>(bytes: &[u8]) -> Result<Option<M>, FrameError> {
    let mut decoder = Decoder::new(LARGE);
    decoder.push(bytes);
    decoder.next()
}

fn golden<M: Message + PartialEq + std::fmt::Debug>(message: &M, bytes: &[u8]) {
    let encoded = message.encode(LARGE).expect("small");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&encoded), hex(bytes), "the format of {message:?} changed");
    assert_eq!(one::<M>(bytes).expect("a golden file is whole").as_ref(), Some(message));
}

#[test]
fn every_frame_has_the_bytes_that_are_documented() {
    golden(&ClientFrame::Hello(hello()), include_bytes!("../../../corpus/formats/native-hello.bin"));
    golden(&ClientFrame::Request(request()), include_bytes!("../../../corpus/formats/native-request.bin"));
    golden(&ServerFrame::Welcome(welcome()), include_bytes!("../../../corpus/formats/native-welcome.bin"));
    golden(&ServerFrame::Response(response()), include_bytes!("../../../corpus/formats/native-response.bin"));
    golden(&ServerFrame::Response(refusal()), include_bytes!("../../../corpus/formats/native-refusal.bin"));
    golden(&goodbye(), include_bytes!("../../../corpus/formats/native-goodbye.bin"));
}

#[test]
fn a_version_is_agreed_on_or_the_refusal_names_both_ranges() {
    assert_eq!(negotiate((1, 1)), Ok(1));
    assert_eq!(negotiate((0, 200)), Ok(1));
    let failure = negotiate((2, 9)).expect_err("nothing in common");
    assert_eq!(failure.code, ErrorCode::Version);
    assert!(failure.message.contains("2 to 9") && failure.message.contains("1 to 1"), "{failure}");
    assert_eq!(negotiate((0, 0)).map_err(|failure| failure.code), Err(ErrorCode::Version));
}

#[test]
fn a_hello_of_a_later_version_is_understood_far_enough_to_be_answered() {
    let mut body = Vec::new();
    let later = Hello { versions: (7, 9), ..hello() };
    ClientFrame::Hello(later.clone()).write(&mut body).expect("small");
    body.extend_from_slice(b"fields of version 7");
    assert_eq!(ClientFrame::read(kind::HELLO, &body), Ok(ClientFrame::Hello(later)));
}

#[test]
fn a_password_is_never_printed() {
    assert!(!format!("{:?}", hello()).contains("horse"));
}

#[test]
fn a_frame_beyond_the_limit_is_refused_by_its_header_before_its_body_is_gathered() {
    let mut frame = ClientFrame::Request(request()).encode(LARGE).expect("small").to_vec();
    frame[8..12].copy_from_slice(&(3u32 << 30).to_le_bytes());
    let mut decoder = ClientDecoder::new(GREETING_BYTES);
    decoder.push(&frame[..HEADER_BYTES]);
    decoder.push(&[0; 10_000]);
    assert_eq!(decoder.buffered(), 0, "nothing is gathered for a refused frame");
    let error = decoder.next().expect_err("too long");
    assert_eq!(error, FrameError::TooLong { length: 16 + (3 << 30), maximum: GREETING_BYTES });
    assert_eq!(Failure::from(&error).code, ErrorCode::TooLarge);
    assert_eq!(decoder.next(), Err(error), "a refused stream stays refused");
}

#[test]
fn the_limit_can_be_raised_between_two_frames() {
    let large = ClientFrame::Request(Request { args: vec![Blob::from(vec![7; 9000])], ..request() });
    let mut decoder = ClientDecoder::new(GREETING_BYTES);
    decoder.push(&ClientFrame::Hello(hello()).encode(GREETING_BYTES).expect("small"));
    assert!(decoder.next().expect("hello").is_some());
    decoder.set_maximum(LARGE);
    decoder.push(&large.encode(LARGE).expect("below the limit"));
    assert_eq!(decoder.next(), Ok(Some(large)));
}

#[test]
fn each_field_of_a_header_that_is_wrong_is_named_with_its_value() {
    let good = ClientFrame::Hello(hello()).encode(LARGE).expect("small");
    let spoilt = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        one::<ClientFrame>(&bytes)
    };
    assert_eq!(spoilt(3, b'2'), Err(FrameError::Magic { found: b"SFC2".to_vec() }));
    assert_eq!(spoilt(4, 0x81), Err(FrameError::Kind { found: 0x81 }));
    assert_eq!(spoilt(5, 4), Err(FrameError::Flags { found: 4 }));
    assert_eq!(spoilt(7, 1), Err(FrameError::Reserved { found: 256 }));
    assert!(matches!(spoilt(12, !good[12]), Err(FrameError::Checksum { .. })));
    assert_eq!(one::<ClientFrame>(b"G"), Err(FrameError::Magic { found: b"G".to_vec() }));
}

#[test]
fn a_reply_too_large_too_deep_or_too_wide_is_refused_when_written_and_when_read() {
    let encode = |value: Value| {
        let reply = Reply { outcome: Ok(value), receipt: None };
        ServerFrame::Response(Response { reply, ..response() }).encode(LARGE).map(|frame| frame.len())
    };
    assert!(matches!(
        encode(Value::Bytes(Blob::from(vec![0; LARGE]))),
        Err(EncodeError::TooLarge { maximum: LARGE, .. })
    ));
    let nest = |depth: usize| (0..depth).fold(Value::Nil, |inner, _| Value::List(vec![inner]));
    assert!(encode(nest(crate::protocol::value::MAX_DEPTH)).is_ok());
    assert_eq!(encode(nest(crate::protocol::value::MAX_DEPTH + 1)), Err(EncodeError::TooDeep));
    let wide = Value::List(vec![Value::Nil; crate::protocol::value::MAX_VALUES]);
    assert!(matches!(encode(wide), Err(EncodeError::TooMany { .. })));

    let mut deep = response().id.as_bytes().to_vec();
    deep.extend_from_slice(&[1, 0, 0, 0]);
    deep.extend_from_slice(&[4, 1, 0, 0, 0].repeat(1000));
    deep.push(0);
    assert!(matches!(
        ServerFrame::read(kind::RESPONSE, &deep),
        Err(BodyError::TooMany { field: "levels", .. })
    ));
}

#[test]
fn a_request_without_arguments_or_with_unknown_options_is_refused() {
    let mut body = Vec::new();
    write_request(&mut body, &Request { once: None, trace: None, unknowns: 0, args: vec![], ..request() })
        .expect("small");
    assert_eq!(
        ClientFrame::read(kind::REQUEST, &body),
        Err(BodyError::Invalid { field: "arguments", value: 0 })
    );
    body[20] = 4;
    assert_eq!(
        ClientFrame::read(kind::REQUEST, &body),
        Err(BodyError::Invalid { field: "unknown outcomes", value: 0 }),
        "of none there is nothing to know"
    );
    body[20] = 8;
    assert_eq!(
        ClientFrame::read(kind::REQUEST, &body),
        Err(BodyError::Invalid { field: "options", value: 8 })
    );
}

#[test]
fn a_large_frame_leaves_no_large_buffer_behind() {
    let large = ClientFrame::Request(Request { args: vec![Blob::from(vec![7; 500_000])], ..request() });
    let mut decoder = ClientDecoder::new(LARGE);
    decoder.push(&large.encode(LARGE).expect("below the limit"));
    assert_eq!(decoder.next(), Ok(Some(large)));
    assert!(decoder.retained() < 100_000, "{} bytes stay allocated", decoder.retained());
}

fn stream() -> (Vec<ServerFrame>, Vec<u8>) {
    let frames = vec![
        ServerFrame::Welcome(welcome()),
        ServerFrame::Response(response()),
        ServerFrame::Response(refusal()),
        goodbye(),
    ];
    let bytes = frames.iter().flat_map(|frame| frame.encode(LARGE).expect("small")).collect();
    (frames, bytes)
}

#[test]
fn every_truncation_needs_more_and_nothing_else() {
    for frame in stream().0 {
        let bytes = frame.encode(LARGE).expect("small");
        for length in 0..bytes.len() {
            assert_eq!(one::<ServerFrame>(&bytes[..length]), Ok(None), "cut at {length} of {frame:?}");
        }
    }
}

#[test]
fn no_single_bit_flip_makes_another_frame() {
    let (frames, bytes) = stream();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut decoder = ServerDecoder::new(LARGE);
        decoder.push(&damaged);
        let mut got = Vec::new();
        while let Ok(Some(frame)) = decoder.next() {
            got.push(frame);
        }
        assert!(got.len() < frames.len(), "the damage at bit {bit} went unseen");
        assert_eq!(got, frames[..got.len()], "bit {bit} made another frame");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        "[a-zA-Z ]{0,9}".prop_map(Value::Status),
        any::<i64>().prop_map(Value::Int),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(Blob::from(bytes))),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::vec(("[a-z]{0,5}", inner), 0..6).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_splits_parse_alike(cuts in prop::collection::vec(0usize..400, 0..12)) {
        let (frames, bytes) = stream();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut decoder = ServerDecoder::new(LARGE);
        let mut got = Vec::new();
        for pair in cuts.windows(2) {
            decoder.push(&bytes[pair[0]..pair[1]]);
            while let Some(frame) = decoder.next().expect("a good stream") {
                got.push(frame);
            }
        }
        prop_assert_eq!(got, frames);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn any_reply_comes_back_as_it_was_written(
        value in value(),
        position in any::<u64>(),
        ahead in proptest::option::of(any::<u64>()),
    ) {
        let receipt = Receipt::durable(Index(position), Millis(position / 3));
        let receipt = Some(Receipt { ahead: ahead.map(Term), ..receipt });
        let size = value.size();
        let reply = Reply { outcome: Ok(value), receipt };
        let frame = ServerFrame::Response(Response { reply, ..response() });
        let bytes = frame.encode(LARGE).expect("small");
        prop_assert!(bytes.len() <= HEADER_BYTES + 64 + size, "Value::size is never less than the truth");
        prop_assert_eq!(one(&bytes), Ok(Some(frame)));
    }

    #[test]
    fn garbage_after_a_good_header_never_panics(
        kind in 0u8..=255, body in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let _ = ClientFrame::read(kind, &body);
        let _ = ServerFrame::read(kind, &body);
        let mut bytes = crate::protocol::frame::MAGIC.to_vec();
        bytes.push(kind);
        bytes.extend_from_slice(&body);
        let mut decoder = ClientDecoder::new(GREETING_BYTES);
        decoder.push(&bytes);
        let _ = decoder.next();
        prop_assert!(decoder.retained() <= 4 * GREETING_BYTES);
    }
}
