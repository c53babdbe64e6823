//! Instances of a gateway that share one rate limit per customer, and of which exactly one cleans up. Each limit is durable: it is not
//! forgotten when a node is lost, or all are.
//!
//! `cargo run --example gateway -- 127.0.0.1:7878 root secret`

use std::time::Duration;

use steadfast::client::{Hold, Limit, Pool};
use steadfast::{Config, Error};

/// Ten requests in any minute.
const LIMIT: Limit = Limit::Sliding { limit: 10, window: Duration::from_secs(60) };

/// One of the instances.
pub struct Gateway {
    name: String,
    pool: Pool,
}

impl Gateway {
    /// Connects, four times over: many requests are under way together.
    pub async fn new(name: &str, config: Config) -> Result<Self, Error> {
        Ok(Self { name: name.to_owned(), pool: Pool::connect(config, 4).await? })
    }

    /// Whether a customer's request is let through; it waits for that a moment.
    pub async fn lets_through(&self, customer: &str) -> Result<bool, Error> {
        let limiter = self.pool.client().limiter(format!("requests:{customer}"), LIMIT);
        limiter.pass(1, Duration::from_millis(100)).await
    }

    /// Waits until it is the one that cleans up. It is as long as the office is held: each write names its token, so that one
    /// that was paused for too long changes nothing.
    pub async fn cleans_up(&self) -> Result<Hold, Error> {
        let elector = self.pool.client().elector("cleaner", self.name.as_str(), Duration::from_secs(10));
        elector.elected("since now").await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, user, password] = &words[..] else {
        eprintln!("usage: gateway ADDRESS USER PASSWORD");
        std::process::exit(2);
    };
    let config = Config::new([address.clone()]).credentials(user.as_str(), password.as_str());
    let gateway = Gateway::new("gateway-1", config).await?;
    let office = gateway.cleans_up().await?;
    println!("cleaning up, under token {}", office.token());
    for number in 1..=12 {
        println!("request {number}: {}", gateway.lets_through("ann").await?);
    }
    office.release().await?;
    Ok(())
}
