//! Charges each order once, however many workers try, and whatever they die of: a lock for who works, an id for what was done.
//!
//! `STEADFAST_ADDR=… STEADFAST_PASSWORD=… cargo run --example payment`, with a server of your own.

use std::time::Duration;

use steadfast::client::Work;
use steadfast::{Client, Config, Error};

/// How long a worker has the lock at a time; it is renewed for as long as the worker holds it.
const HELD: Duration = Duration::from_secs(10);

/// Charges an order, unless it is charged already. Says what was charged for it.
async fn charge(client: &Client, worker: &str, order: &str) -> Result<Option<String>, Error> {
    // Whoever has the lock works; the others wait for it for a while, and then give up.
    let Some(lock) = client.lock(format!("order:{order}"), worker, HELD, Duration::from_secs(5)).await?
    else {
        return Ok(None);
    };
    // The lock may be lost without the worker's knowing, so what is done outside is begun under an id.
    let receipt = match client.begin_work(format!("charge:{order}"), "9.90 EUR", HELD).await? {
        Work::First { token } => {
            let receipt = ask_the_bank(order).await;
            client.finish_work(format!("charge:{order}"), token, receipt.clone()).await?;
            receipt
        }
        Work::Done { answer } => String::from_utf8_lossy(&answer).into_owned(),
        Work::Running { .. } => return Ok(None),
    };
    // Refused if somebody else has the lock by now.
    lock.set(format!("paid:{order}"), receipt.clone()).await?;
    lock.release().await?;
    Ok(Some(receipt))
}

/// Stands for a call to somebody who charges.
async fn ask_the_bank(order: &str) -> String {
    format!("receipt of {order}")
}

/// Two workers, one order.
pub async fn run(config: Config) -> Result<Vec<Option<String>>, Error> {
    let client = Client::connect(config).await?;
    let (one, two) = tokio::join!(charge(&client, "worker-1", "17"), charge(&client, "worker-2", "17"));
    client.close().await;
    Ok(vec![one?, two?])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    for receipt in run(config()).await? {
        println!("{receipt:?}");
    }
    Ok(())
}

fn config() -> Config {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    Config::new([variable("STEADFAST_ADDR", "127.0.0.1:7878")])
        .credentials(variable("STEADFAST_USER", "root"), variable("STEADFAST_PASSWORD", ""))
}
