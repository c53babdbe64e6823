//! The examples of the client library do what they say, against a real server.

use std::time::Duration;

use steadfast::{Client, Config};
use steadfast_tests::process::Process;
use steadfast_tests::scratch::Scratch;

#[allow(dead_code, reason = "its main function is not called here")]
#[path = "../../runtime-tokio/examples/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "its main function is not called here")]
#[path = "../../runtime-tokio/examples/payment.rs"]
mod payment;
#[allow(dead_code, reason = "its main function is not called here")]
#[path = "../../runtime-tokio/examples/settings.rs"]
mod settings;

fn with_server(work: impl AsyncFnOnce(Config)) {
    let scratch = Scratch::new("examples");
    let server = Process::single(&scratch.join("data"));
    let (user, password) = server.credentials();
    let config = Config::new([server.address.clone()]).credentials(user, password);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work(config));
}

#[test]
fn an_order_is_charged_once_by_two_workers() {
    with_server(async |config| {
        let client = Client::connect(config.clone()).await.expect("connected");
        let receipts = payment::run(config).await.expect("charged");
        assert_eq!(receipts, [Some("receipt of 17".to_owned()), Some("receipt of 17".to_owned())]);
        assert_eq!(client.get("paid:17").await.expect("read"), Some("receipt of 17".into()));
    });
}

#[test]
fn gateways_share_a_limit_and_one_of_them_cleans_up() {
    with_server(async |config| {
        let one = gateway::Gateway::new("one", config.clone()).await.expect("connected");
        let other = gateway::Gateway::new("other", config).await.expect("connected");
        let mut passed = 0;
        for number in 0..14 {
            let gateway = if number % 2 == 0 { &one } else { &other };
            passed += usize::from(gateway.lets_through("ann").await.expect("answered"));
        }
        assert_eq!(passed, 10, "ten in a minute, by whichever gateway");
        assert!(other.lets_through("bob").await.expect("answered"), "that is another customer");
        let office = one.cleans_up().await.expect("elected");
        let (first, waits) = (office.token(), other.cleans_up());
        let mut waits = std::pin::pin!(waits);
        let moment = Duration::from_millis(300);
        assert!(tokio::time::timeout(moment, &mut waits).await.is_err(), "there is one already");
        office.set("swept", "1").await.expect("it leads");
        assert!(office.release().await.expect("given back"));
        let next =
            tokio::time::timeout(Duration::from_secs(10), waits).await.expect("in time").expect("elected");
        assert!(next.token() > first);
    });
}

#[test]
fn settings_follow_the_database() {
    with_server(async |config| {
        let client = Client::connect(config.clone()).await.expect("connected");
        client.set("config:colour", "red").await.expect("set");
        let mut settings = settings::Settings::new(config).await.expect("read");
        assert_eq!(settings.get("colour"), Some(&"red".into()));
        let changed = async |settings: &mut settings::Settings| {
            tokio::time::timeout(Duration::from_secs(10), settings.changed())
                .await
                .expect("in time")
                .expect("goes on")
        };
        client.set("config:colour", "blue").await.expect("set");
        changed(&mut settings).await;
        assert_eq!(settings.get("colour"), Some(&"blue".into()));
        client.del(["config:colour"]).await.expect("deleted");
        changed(&mut settings).await;
        assert_eq!(settings.get("colour"), None);
    });
}
