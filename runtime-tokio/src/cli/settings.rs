//! What `steadfast serve` is told, on the command line and in a file: one set of settings, in which the command line comes first.
//! It checks what contradicts itself and starts nothing.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Deserializer};
use steadfast_core::config::{AccessMode, CLOCK_DISAGREEMENT, Features, MAX_CLOCK_BOUND_PPM, Member, Timing};
use steadfast_core::state::effect::FEATURE_LEVEL;
use steadfast_core::time::Micros;
use steadfast_core::types::NodeId;

use crate::server::config::{DEFAULT_ADDRESS, DEFAULT_CLUSTER, DEFAULT_DATA, ServerConfig, parse_peer};
use crate::server::logging::{Format, Level};

/// Largest file that is read, in bytes: far more than all settings.
const FILE_BYTES: u64 = 1 << 20;

/// The settings of a node. Each may be left out; the names in a file are those of the options.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Where the data lies; created if it is missing [default: steadfast-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen, for clients and peers alike; port 0 takes any free one [default: 127.0.0.1:7878]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// How other nodes and clients reach this node, if not at the address it listens on
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// This node's number in its cluster
    #[arg(long, value_name = "N")]
    pub id: Option<u16>,
    /// Another node of the cluster; once for each
    #[arg(long, value_name = "ID=HOST:PORT", value_parser = parse_peer)]
    #[serde(deserialize_with = "peers")]
    pub peer: Vec<Member>,
    /// Join the cluster of those nodes, of which one or two are enough, rather than found one with all of them. Then tell that
    /// cluster: CLUSTER ADD N HOST:PORT
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub join: Option<bool>,
    /// Be the witness of two nodes that hold data: vote, hold no data, and never lead. Say so at every start of this node
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub witness: Option<bool>,
    /// The cluster's name: nodes and clients of another one are refused [default: steadfast]
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Vouch for the clocks: the rates of all nodes' monotonic clocks are off by at most so many millionths. Then a leader answers reads on
    /// a lease, without asking the others; a machine that is suspended breaks it. Without it there are no leases
    #[arg(long, value_name = "PPM")]
    pub lease_clock_bound: Option<u32>,
    /// Hold the cluster at this feature level, if it is not beyond it: then the nodes can still go back to the release that knows no more
    #[arg(long, value_name = "LEVEL")]
    pub feature_level: Option<u32>,
    /// Wall clocks of nodes that are further apart than this disagree, in milliseconds, 10 to 60000. The same on every node [default: 1000]
    #[arg(long, value_name = "MS")]
    pub clock_disagreement: Option<u64>,
    /// Let everybody do everything; for tests, on a loopback address
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub insecure_no_auth: Option<bool>,
    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<Format>,
    /// What is logged [default: info]
    #[arg(long, value_name = "LEVEL", value_enum)]
    pub log_level: Option<Level>,
}

/// In a file: a list of texts such as `2=10.0.0.2:7878`.
fn peers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Member>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse_peer(text).map_err(serde::de::Error::custom)).collect()
}

impl Settings {
    /// Those of a file.
    ///
    /// # Errors
    /// A sentence with the file's name, and the line and key that are wrong.
    pub fn read(file: &Path) -> Result<Self, String> {
        let place = |what: String| format!("{}: {what}", file.display());
        let size = fs::metadata(file).map_err(|error| place(error.to_string()))?.len();
        if size > FILE_BYTES {
            return Err(place(format!("{size} bytes are no settings: at most {FILE_BYTES} are read")));
        }
        let text = fs::read_to_string(file).map_err(|error| place(error.to_string()))?;
        toml::from_str(&text).map_err(|error| place(error.to_string().trim_end().to_owned()))
    }

    /// These, and others for what they leave out.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self {
            data: self.data.or(others.data),
            listen: self.listen.or(others.listen),
            advertise: self.advertise.or(others.advertise),
            id: self.id.or(others.id),
            peer: if self.peer.is_empty() { others.peer } else { self.peer },
            join: self.join.or(others.join),
            witness: self.witness.or(others.witness),
            cluster: self.cluster.or(others.cluster),
            lease_clock_bound: self.lease_clock_bound.or(others.lease_clock_bound),
            feature_level: self.feature_level.or(others.feature_level),
            clock_disagreement: self.clock_disagreement.or(others.clock_disagreement),
            insecure_no_auth: self.insecure_no_auth.or(others.insecure_no_auth),
            log_format: self.log_format.or(others.log_format),
            log_level: self.log_level.or(others.log_level),
        }
    }

    /// The server's configuration.
    ///
    /// # Errors
    /// If a number is given and no other node, or the other way round.
    pub fn config(&self) -> Result<ServerConfig, String> {
        if self.id.is_some() == self.peer.is_empty() {
            let (has, lacks) = if self.id.is_some() { ("id", "peer") } else { ("peer", "id") };
            return Err(format!(
                "{has} is set, and {lacks} is not: a node of a cluster needs both, and one alone neither"
            ));
        }
        if self.join == Some(true) && self.peer.is_empty() {
            return Err("join is set, and peer is not: name a node of the cluster to join".into());
        }
        if self.witness == Some(true) && self.peer.is_empty() {
            return Err(
                "witness is set, and peer is not: a witness votes beside two nodes that hold data".into()
            );
        }
        let timing = self.timing()?;
        if let Some(level) = self.feature_level.filter(|level| !(1..=FEATURE_LEVEL).contains(level)) {
            return Err(format!(
                "feature-level is {level}, and this release knows the levels 1 to {FEATURE_LEVEL}"
            ));
        }
        let open = self.insecure_no_auth.unwrap_or(false);
        Ok(ServerConfig {
            data: self.data.clone().unwrap_or_else(|| DEFAULT_DATA.into()),
            listen: self.listen.clone().unwrap_or_else(|| DEFAULT_ADDRESS.into()),
            advertise: self.advertise.clone(),
            id: NodeId(self.id.unwrap_or(1)),
            timing,
            features: Features { hold: self.feature_level, ..Features::default() },
            peers: self.peer.clone(),
            join: self.join.unwrap_or(false),
            witness: self.witness.unwrap_or(false),
            cluster: self.cluster.clone().unwrap_or_else(|| DEFAULT_CLUSTER.into()),
            access: if open { AccessMode::InsecureNoAuth } else { AccessMode::Enforced },
            ..ServerConfig::default()
        })
    }

    /// What it says of clocks.
    fn timing(&self) -> Result<Timing, String> {
        if let Some(bound) = self.lease_clock_bound.filter(|bound| *bound > MAX_CLOCK_BOUND_PPM) {
            return Err(format!(
                "lease-clock-bound is {bound} millionths, and at most {MAX_CLOCK_BOUND_PPM}: no clock that is off by more is worth a lease"
            ));
        }
        let mut timing = Timing { clock_bound_ppm: self.lease_clock_bound, ..Timing::default() };
        if let Some(millis) = self.clock_disagreement {
            timing.clock_disagreement = Micros::from_millis(millis);
        }
        if !CLOCK_DISAGREEMENT.contains(&timing.clock_disagreement) {
            let (least, most) = (CLOCK_DISAGREEMENT.start().0 / 1000, CLOCK_DISAGREEMENT.end().0 / 1000);
            let millis = timing.clock_disagreement.0 / 1000;
            return Err(format!(
                "clock-disagreement is {millis} ms, and {least} to {most} can be: leave it out for 1000"
            ));
        }
        Ok(timing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_comes_before_the_file_and_the_file_before_the_defaults() {
        let file = read("listen = \"10.0.0.1:1\"\ncluster = \"west\"\nid = 3\npeer = [\"2=h:1\"]\n")
            .expect("well formed");
        let line = Settings { listen: Some("10.0.0.2:2".into()), ..Settings::default() };
        let config = line.or(file).config().expect("it fits together");
        assert_eq!((config.listen.as_str(), config.cluster.as_str()), ("10.0.0.2:2", "west"));
        assert_eq!((config.id, config.peers.len(), config.data), (NodeId(3), 1, DEFAULT_DATA.into()));
    }

    #[test]
    fn what_is_unknown_or_wrong_is_refused_with_its_line() {
        for (text, named) in [
            ("lisen = \"h:1\"", "lisen"),
            ("listen = 7", "line 1"),
            ("id = 70000", "line 1"),
            ("peer = [\"h:1\"]", "line 1"),
            ("log-level = \"loud\"", "loud"),
            ("data = \"a\"\ndata = \"b\"", "line 2"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(named), "{error} names {named}");
        }
    }

    #[test]
    fn peers_need_a_number_and_a_number_needs_peers() {
        let config = |text: &str| read(text).expect("well formed").config().map(|config| config.id);
        assert_eq!(config("id = 1\npeer = [\"2=h:1\", \"3=h:2\"]"), Ok(NodeId(1)));
        assert!(config("peer = [\"2=h:1\"]").is_err());
        assert!(config("lease-clock-bound = 100001").is_err());
        assert!(config("feature-level = 0").is_err() && config("feature-level = 99").is_err());
        for millis in ["9", "60001", "9223372036854775807"] {
            assert!(config(&format!("clock-disagreement = {millis}")).is_err(), "{millis} ms");
        }
        assert_eq!(config("clock-disagreement = 10"), Ok(NodeId(1)));
        assert!(config("id = 1").is_err() && config("join = true").is_err());
        assert_eq!(config(""), Ok(NodeId(1)));
    }

    /// Every key is in the documented file, and what stands there is the default, or an example that is commented out.
    #[test]
    fn the_documented_file_names_every_setting_and_changes_nothing() {
        let file = include_str!("../../../docs/steadfast.toml");
        let settings = read(file).expect("well formed");
        let (documented, default) =
            (settings.config().expect("it fits"), Settings::default().config().expect("it fits"));
        assert_eq!(format!("{documented:?}"), format!("{default:?}"));
        let bare: String =
            file.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n").collect();
        let all = read(&bare).expect("the examples are well formed, too");
        let text = format!("{all:?}");
        assert!(!text.contains("None") && !all.peer.is_empty(), "a setting is missing: {text}");
    }
}
