//! Steadfast, a durable replicated key-value database for coordination state: the Rust client library, and the
//! thin runtime that makes a server of the core.
//!
//! ```no_run
//! # async fn example() -> Result<(), steadfast::Error> {
//! let config = steadfast::Config::new(["127.0.0.1:7878"]).credentials("root", "secret");
//! let client = steadfast::Client::connect(config).await?;
//! client.set("greeting", "hello").await?;
//! let answer = client.command(["INCRBY", "visits", "1"]).await?;
//! println!("{:?} at {:?}", answer.value, answer.receipt);
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] is the library. `server` and `cli` are what the binary `steadfast` is made of; they are public for
//! tests, and promise nothing to others.

pub mod cli;
pub mod client;
mod net;
pub mod server;

pub use client::{Answer, Client, Config, Error};
