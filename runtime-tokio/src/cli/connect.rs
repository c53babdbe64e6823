//! The options by which `cli`, `watch` and `status` find and enter a cluster.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::net::TcpStream;

use super::credentials::{CredentialsError, Wishes};
use crate::client::{Client, Config, Error, ErrorCode};
use crate::server::config::DEFAULT_ADDRESS;

/// Which cluster, as whom, and how long to wait.
#[derive(Clone, Debug, Args)]
pub struct ConnectArgs {
    /// A node's address; give it again for each further node [default: 127.0.0.1:7878] [env: STEADFAST_ADDR]
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    pub addr: Vec<String>,
    /// The user to log in as [env: STEADFAST_USER; its password: STEADFAST_PASSWORD]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// A file whose first line is the user's password [env: STEADFAST_PASSWORD_FILE]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Log in with the root-credentials of this data directory; ./steadfast-data is found by itself if the
    /// address is one of this machine
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Refuse a cluster of another name
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// How long one command may take, such as 500ms, 10s or 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub timeout: Duration,
}

/// Why a cluster can't be entered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// A sentence with the way out.
    pub text: String,
    /// Whether another attempt may fare better.
    pub passing: bool,
}

impl ConnectArgs {
    /// A client's configuration, from the options and then from the environment.
    ///
    /// # Errors
    /// Credentials that were asked for and can't be had.
    pub fn config(&self) -> Result<Config, CredentialsError> {
        let addresses = self.addresses();
        // Options count as a whole: an option's user does not get the environment's password of another.
        let wishes = if self.user.is_some() || self.password_file.is_some() || self.data.is_some() {
            Wishes {
                user: self.user.clone(),
                password: self.user.as_ref().and_then(|_| env::var("STEADFAST_PASSWORD").ok()),
                password_file: self.password_file.clone(),
                data: self.data.clone(),
            }
        } else {
            Wishes {
                user: env::var("STEADFAST_USER").ok(),
                password: env::var("STEADFAST_PASSWORD").ok(),
                password_file: env::var_os("STEADFAST_PASSWORD_FILE").map(PathBuf::from),
                data: None,
            }
        };
        let credentials = wishes.find(&addresses)?;
        let mut config = Config::new(addresses).name("steadfast cli").deadline(self.timeout);
        if let Some(found) = credentials {
            config = config.credentials(found.user, found.password);
        }
        if let Some(cluster) = &self.cluster {
            config = config.cluster(cluster.as_str());
        }
        Ok(config)
    }

    /// The nodes' addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        if !self.addr.is_empty() {
            return self.addr.clone();
        }
        match env::var("STEADFAST_ADDR") {
            Ok(addresses) => addresses.split(',').map(|address| address.trim().to_owned()).collect(),
            Err(_) => vec![DEFAULT_ADDRESS.to_owned()],
        }
    }

    /// Connects and logs in.
    ///
    /// # Errors
    /// A sentence with the way out, and whether another attempt may fare better.
    pub async fn connect(&self) -> Result<Client, Refusal> {
        let config = self.config().map_err(|error| Refusal { text: error.to_string(), passing: false })?;
        self.probe().await.map_err(|text| Refusal { text, passing: true })?;
        let explained = |error: Error| Refusal { text: self.explain(&error), passing: error.is_passing() };
        Client::connect(config).await.map_err(explained)
    }

    /// The client tries again until its time is up, as an application wants it; a person wants to know at once that
    /// nothing listens there.
    async fn probe(&self) -> Result<(), String> {
        let mut last = String::new();
        for address in self.addresses() {
            match tokio::time::timeout(self.timeout, TcpStream::connect(&address)).await {
                Ok(Err(error)) => last = format!("can't connect to {address}: {error}"),
                Ok(Ok(_)) => return Ok(()),
                Err(_) => last = format!("can't connect to {address} within {:?}", self.timeout),
            }
        }
        Err(format!("{last}; name a server's address with --addr, or start one with `steadfast serve`"))
    }

    fn explain(&self, error: &Error) -> String {
        let addresses = self.addresses().join(", ");
        match error.code() {
            ErrorCode::Unauthenticated => format!(
                "{addresses} wants to know who you are: name a user with --user and a file with the password with \
                 --password-file, or the server's data directory with --data ({error})"
            ),
            ErrorCode::WrongPassword => {
                format!("{addresses} does not accept the user or the password ({error})")
            }
            ErrorCode::DeadlineExceeded | ErrorCode::TimedOut => format!(
                "no answer from {addresses} within {:?}: does a server run there, and a majority of its cluster? \
                 ({error})",
                self.timeout
            ),
            _ => format!("can't enter the cluster at {addresses}: {error}"),
        }
    }
}

/// Reads a time such as `500ms`, `10s` or `2m`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is no time: write it as 500ms, 10s or 2m");
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let time = match &text[digits.len()..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60).ok_or_else(wrong)?),
        _ => return Err(wrong()),
    };
    if time.is_zero() || time.as_millis() > u128::from(u32::MAX) { Err(wrong()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_time("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "10", "s", "-1s", "1h", "0s", "99999999999m", "1.5s", "ä"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
