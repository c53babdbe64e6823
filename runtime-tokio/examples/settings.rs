//! Settings that follow the database: read once, then kept up to date by a watch, with nothing missed between the two.
//!
//! `STEADFAST_ADDR=… STEADFAST_PASSWORD=… cargo run --example settings`, then `steadfast cli SET config:colour red`.

use std::collections::BTreeMap;

use steadfast::client::{Blob, Content, Index, Update, Watch, Watcher};
use steadfast::{Client, Config, Error};

/// All keys that begin with `config:`, as of the last update.
pub struct Settings {
    client: Client,
    changes: Watcher,
    values: BTreeMap<Blob, Blob>,
}

impl Settings {
    /// Reads all, and watches from where the first read was.
    pub async fn new(config: Config) -> Result<Self, Error> {
        let client = Client::connect(config).await?;
        let (values, position) = read(&client).await?;
        let changes = client.watch(Watch::new().prefix("config:"), position)?;
        Ok(Self { client, changes, values })
    }

    /// What is known.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Blob> {
        self.values.get(format!("config:{name}").as_bytes())
    }

    /// Waits for the next change, and takes it in.
    pub async fn changed(&mut self) -> Result<(), Error> {
        loop {
            match self.changes.next().await.expect("a watch ends behind an error")? {
                Update::Change(change) => {
                    match change.content {
                        Some(Content::String(value)) => self.values.insert(change.key, value),
                        _ => self.values.remove(&change.key),
                    };
                    return Ok(());
                }
                Update::Progress(_) => {}
                // The cluster does not remember so far back: what follows is told from here on.
                Update::Gone(_) => {
                    self.values = read(&self.client).await?.0;
                    return Ok(());
                }
            }
        }
    }
}

/// All settings, and the position of the first read: what changes while these pages are read is told again.
async fn read(client: &Client) -> Result<(BTreeMap<Blob, Blob>, Index), Error> {
    let first = client.command(["WHOAMI"]).await?;
    let position = first.receipt.map_or(Index(0), |receipt| receipt.position);
    let (mut values, mut after) = (BTreeMap::new(), None::<Blob>);
    loop {
        let page = client.scan("config:", after, 100).await?;
        if !page.keys.is_empty() {
            let read = client.mget(page.keys.clone()).await?;
            values.extend(page.keys.into_iter().zip(read).filter_map(|(key, value)| Some((key, value?))));
        }
        after = page.cursor;
        if after.is_none() {
            return Ok((values, position));
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let config = Config::new([variable("STEADFAST_ADDR", "127.0.0.1:7878")])
        .credentials(variable("STEADFAST_USER", "root"), variable("STEADFAST_PASSWORD", ""));
    let mut settings = Settings::new(config).await?;
    loop {
        println!("colour is {:?}", settings.get("colour"));
        settings.changed().await?;
    }
}
