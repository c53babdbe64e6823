//! What the operator asks for, checked before anything is opened or started, and turned into the core's
//! configuration.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use steadfast_core::access::password::Cost;
use steadfast_core::config::{AccessMode, Features, LogConfig, Member, NodeConfig, SnapshotConfig, Timing};
use steadfast_core::limits::Limits;
use steadfast_core::membership::{MAX_MEMBERS, MAX_VOTERS, is_address};
use steadfast_core::types::NodeId;

use super::clock::Skew;

/// The address that a server listens on, and that clients look for it at, unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:7878";
/// The data directory unless told otherwise.
pub const DEFAULT_DATA: &str = "steadfast-data";
/// The cluster's name unless told otherwise.
pub const DEFAULT_CLUSTER: &str = "steadfast";
/// Longest cluster name, in bytes.
pub const CLUSTER_NAME_BYTES: usize = 64;

/// A server's configuration.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where the data lies.
    pub data: PathBuf,
    /// Where to listen: an address and a port; port 0 takes any free one.
    pub listen: String,
    /// How others reach this node; what it listens on if `None`.
    pub advertise: Option<String>,
    /// This node's number.
    pub id: NodeId,
    /// The other members, or some of them.
    pub peers: Vec<Member>,
    /// Whether an empty data directory joins the cluster of those rather than founds one with them.
    pub join: bool,
    /// Whether the data directory is a witness's: this node votes, and holds no data.
    pub witness: bool,
    /// The cluster's name.
    pub cluster: String,
    /// Whether access is checked.
    pub access: AccessMode,
    /// Bounds.
    pub limits: Limits,
    /// Time-outs.
    pub timing: Timing,
    /// Which feature levels may be used.
    pub features: Features,
    /// The log's layout.
    pub log: LogConfig,
    /// When snapshots are taken, and their layout.
    pub snapshot: SnapshotConfig,
    /// How expensive new password hashes are.
    pub password_cost: Cost,
    /// The first administrator's password; drawn at random if `None`.
    pub root_password: Option<String>,
    /// How far the clocks are off, for tests alone.
    pub skew: Skew,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            data: DEFAULT_DATA.into(),
            listen: DEFAULT_ADDRESS.into(),
            advertise: None,
            id: NodeId(1),
            peers: Vec::new(),
            join: false,
            witness: false,
            cluster: DEFAULT_CLUSTER.into(),
            access: AccessMode::Enforced,
            limits: Limits::default(),
            timing: Timing::default(),
            features: Features::default(),
            log: LogConfig::default(),
            snapshot: SnapshotConfig::default(),
            password_cost: Cost::default(),
            root_password: None,
            skew: Skew::default(),
        }
    }
}

impl ServerConfig {
    /// Checks everything that can be checked without opening anything, and resolves the address to listen on.
    ///
    /// # Errors
    /// What is wrong, with the way out.
    pub fn check(&self) -> Result<Vec<SocketAddr>, ConfigError> {
        if self.cluster.is_empty() || self.cluster.len() > CLUSTER_NAME_BYTES {
            return Err(ConfigError::ClusterName { bytes: self.cluster.len() });
        }
        self.check_members()?;
        let addresses = resolve(&self.listen)?;
        if self.access == AccessMode::InsecureNoAuth
            && let Some(outside) = addresses.iter().find(|address| !address.ip().is_loopback())
        {
            return Err(ConfigError::InsecureOutside { address: *outside });
        }
        if !self.peers.is_empty()
            && self.advertise.is_none()
            && addresses.iter().any(|address| address.ip().is_unspecified() || address.port() == 0)
        {
            return Err(ConfigError::NotReachable { listen: self.listen.clone() });
        }
        Ok(addresses)
    }

    fn check_members(&self) -> Result<(), ConfigError> {
        let most = if self.join { MAX_MEMBERS } else { MAX_VOTERS };
        if self.peers.len() + 1 > most {
            return Err(ConfigError::TooManyMembers { count: self.peers.len() + 1, most });
        }
        let mut seen = vec![self.id];
        for peer in &self.peers {
            if seen.contains(&peer.id) {
                return Err(ConfigError::Repeated { id: peer.id, own: peer.id == self.id });
            }
            seen.push(peer.id);
        }
        match seen.iter().find(|id| id.0 == 0) {
            Some(_) => Err(ConfigError::ZeroId),
            None => Ok(()),
        }
    }

    /// The core's configuration, once it is known where the server listens.
    #[must_use]
    pub fn node(&self, bound: SocketAddr) -> NodeConfig {
        let own = Member { id: self.id, address: self.address(bound) };
        NodeConfig {
            id: self.id,
            cluster_name: self.cluster.clone(),
            members: std::iter::once(own).chain(self.peers.iter().cloned()).collect(),
            join: self.join,
            witness: self.witness,
            limits: self.limits.clone(),
            timing: self.timing.clone(),
            log: self.log.clone(),
            snapshot: self.snapshot.clone(),
            access: self.access,
            password_cost: self.password_cost,
            root_password: self.root_password.clone(),
            features: self.features,
        }
    }

    /// How others reach this node.
    #[must_use]
    pub fn address(&self, bound: SocketAddr) -> String {
        self.advertise.clone().unwrap_or_else(|| bound.to_string())
    }
}

/// Reads `ID=ADDRESS`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_peer(text: &str) -> Result<Member, String> {
    let (id, address) = text.split_once('=').ok_or("write it as ID=ADDRESS, such as 2=10.0.0.2:7878")?;
    let id: u16 = id.trim().parse().map_err(|_| format!("\"{id}\" is not a node's number, 1 to 65535"))?;
    let address = address.trim();
    if is_address(address) {
        Ok(Member { id: NodeId(id), address: address.to_owned() })
    } else {
        Err(format!("\"{address}\" is not an address with a port, such as 10.0.0.2:7878"))
    }
}

fn resolve(listen: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    let unknown = |reason: String| ConfigError::Listen { listen: listen.to_owned(), reason };
    let addresses: Vec<_> = listen.to_socket_addrs().map_err(|error| unknown(error.to_string()))?.collect();
    if addresses.is_empty() { Err(unknown("it has no address".into())) } else { Ok(addresses) }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The cluster's name is empty or too long.
    ClusterName {
        /// Its length.
        bytes: usize,
    },
    /// More members than are supported.
    TooManyMembers {
        /// This node included.
        count: usize,
        /// That many can be.
        most: usize,
    },
    /// A number is used twice.
    Repeated {
        /// Which.
        id: NodeId,
        /// Whether it is this node's own.
        own: bool,
    },
    /// Number 0 means nobody.
    ZeroId,
    /// The address to listen on can't be understood.
    Listen {
        /// As it was written.
        listen: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Peers could not find this node by the address that it listens on.
    NotReachable {
        /// As it was written.
        listen: String,
    },
    /// No authentication on an address that others reach.
    InsecureOutside {
        /// Such an address.
        address: SocketAddr,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterName { bytes } => write!(
                f,
                "the cluster's name has {bytes} bytes: give --cluster one of 1 to {CLUSTER_NAME_BYTES} bytes"
            ),
            Self::TooManyMembers { count, most } => write!(
                f,
                "{count} members, and there are at most {most}: name fewer, since the cluster knows the others, or start a node that \
                 is to learn from it with --join"
            ),
            Self::Repeated { id, own: true } => write!(
                f,
                "--peer {id} is this node's own number: name only the *other* nodes, and this one with --id"
            ),
            Self::Repeated { id, own: false } => write!(f, "--peer {id} is given twice"),
            Self::ZeroId => f.write_str("a node's number is 1 or more"),
            Self::Listen { listen, reason } => write!(
                f,
                "can't listen on \"{listen}\" ({reason}): write it as HOST:PORT, such as {DEFAULT_ADDRESS}"
            ),
            Self::NotReachable { listen } => write!(
                f,
                "the other nodes can't reach this one at {listen}: say with --advertise which address they use"
            ),
            Self::InsecureOutside { address } => write!(
                f,
                "--insecure-no-auth makes everybody who reaches {address} an administrator, and that is not a \
                 loopback address: listen on 127.0.0.1, or leave the flag away"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u16) -> Member {
        Member { id: NodeId(id), address: format!("10.0.0.{id}:7878") }
    }

    fn error(change: impl FnOnce(&mut ServerConfig)) -> String {
        let mut config = ServerConfig::default();
        change(&mut config);
        config.check().expect_err("the configuration is refused").to_string()
    }

    #[test]
    fn the_defaults_are_a_single_node_on_loopback() {
        let config = ServerConfig::default();
        let addresses = config.check().expect("the defaults are fine");
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        assert_eq!(config.node(addresses[0]).members.len(), 1);
    }

    #[test]
    fn everybody_an_administrator_is_refused_wherever_others_can_come_in() {
        for listen in ["0.0.0.0:7878", "[::]:7878", "192.0.2.1:7878"] {
            let text = error(|config| {
                config.access = AccessMode::InsecureNoAuth;
                config.listen = listen.into();
            });
            assert!(text.contains("--insecure-no-auth"), "{text}");
        }
        let local = ServerConfig { access: AccessMode::InsecureNoAuth, ..ServerConfig::default() };
        local.check().expect("loopback is allowed");
    }

    #[test]
    fn members_are_told_apart_and_counted() {
        assert!(error(|config| config.peers = vec![member(1)]).contains("own number"));
        assert!(error(|config| config.peers = vec![member(2), member(2)]).contains("twice"));
        assert!(error(|config| config.peers = vec![member(0)]).contains("1 or more"));
        assert!(error(|config| config.peers = (2..=8).map(member).collect()).contains("at most 7"));
    }

    #[test]
    fn a_clustered_node_must_say_how_it_is_reached() {
        let clustered = |config: &mut ServerConfig| {
            config.peers = vec![member(2), member(3)];
            config.listen = "0.0.0.0:7878".into();
        };
        assert!(error(clustered).contains("--advertise"));
        let mut config = ServerConfig { advertise: Some("db1:7878".into()), ..ServerConfig::default() };
        clustered(&mut config);
        let bound = config.check().expect("it says how it is reached")[0];
        assert_eq!(config.node(bound).members[0].address, "db1:7878");
    }

    #[test]
    fn a_peer_is_a_number_and_an_address_with_a_port() {
        assert_eq!(parse_peer("2=10.0.0.2:7878"), Ok(member(2)));
        assert_eq!(parse_peer("3=[::1]:1").map(|peer| peer.address), Ok("[::1]:1".into()));
        for wrong in ["10.0.0.2:7878", "x=10.0.0.2:7878", "2=10.0.0.2", "2=:7878", "2=host:0", "70000=a:1"] {
            assert!(parse_peer(wrong).is_err(), "{wrong}");
        }
    }
}
