//! Who the other nodes are: the envelope of every frame, and the boots that were seen.
//!
//! A known boot number under another nonce, or a lower number than known, means that a data directory went back in
//! time: an old image, which has forgotten what it promised since. Such a node is told so, and is not listened to
//! until it has begun a boot above the known one, in doubt of its own memory. This file only tells; Raft abstains.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::hard::{MAX_PEERS, PeerBoot};
use crate::membership::Voter;
use crate::protocol::peer::PeerHeader;
use crate::types::{BootNumber, ClusterId, Incarnation, NodeId};

/// What a peer frame's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Raft message.
    Raft,
    /// A [`crate::founding::FoundingMessage`].
    Founding,
    /// A [`super::forward::ForwardMessage`].
    Forward,
    /// A [`Quarantine`].
    Quarantine,
    /// A [`crate::snapshot::transfer::SnapshotMessage`].
    Snapshot,
    /// A [`super::repair::RepairMessage`].
    Repair,
    /// A [`super::addresses::Whereabouts`].
    Whereabouts,
    /// A [`super::clocks::ClockMessage`].
    Clock,
    /// A [`super::levels::Supports`].
    Level,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Raft,
        Kind::Founding,
        Kind::Forward,
        Kind::Quarantine,
        Kind::Snapshot,
        Kind::Repair,
        Kind::Whereabouts,
        Kind::Clock,
        Kind::Level,
    ];

    /// The number in the envelope.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Raft => 1,
            Self::Founding => 2,
            Self::Forward => 3,
            Self::Quarantine => 4,
            Self::Snapshot => 5,
            Self::Repair => 6,
            Self::Whereabouts => 7,
            Self::Clock => 8,
            Self::Level => 9,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// What a node is told whose boot is not above what was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// The incarnation that is meant.
    pub incarnation: Incarnation,
    /// The highest boot that was seen of it.
    pub boot: BootNumber,
    /// That boot's nonce.
    pub nonce: u64,
}

/// One data directory's newest boot that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Its number.
    pub number: BootNumber,
    /// Drawn for it.
    pub nonce: u64,
}

/// No directory begins so many boots. A number beyond is nobody's, and is not believed: the next boot needs room
/// above it.
const MOST_BOOTS: BootNumber = BootNumber(1 << 62);

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is to be handled.
    Accepted,
    /// It is a late frame of an earlier boot, or its sender is an old image: tell it.
    Quarantined(Quarantine),
    /// It is not for this node or group, or of a cluster that is not founded.
    Foreign,
    /// It is for this node, from a directory that belongs to another cluster.
    Stranger(Stranger),
}

/// A directory of another cluster that speaks to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// That cluster.
    pub cluster: ClusterId,
    /// This node's.
    pub ours: ClusterId,
    /// Whether it speaks for the first time, as far as this node remembers.
    pub first: bool,
}

/// Most directories of other clusters that a node remembers to have named.
const STRANGERS: usize = 64;

/// The envelope of this node's frames, and the boots of the others.
#[derive(Clone, Debug)]
pub struct PeerBook {
    own: PeerHeader,
    seen: BTreeMap<(NodeId, Incarnation), Boot>,
    /// Directories of other clusters that were named to the operator.
    strangers: BTreeSet<(NodeId, Incarnation)>,
    /// A boot was seen that the hard state does not have yet.
    news: bool,
}

impl PeerBook {
    /// A node's book in a new boot; `seen` is what its hard state remembers.
    #[must_use]
    pub fn new(id: NodeId, incarnation: Incarnation, boot: Boot, seen: &[PeerBoot]) -> Self {
        let own = PeerHeader {
            kind: 0,
            group: 0,
            cluster: ClusterId(0),
            from: id,
            to: id,
            incarnation,
            boot: boot.number,
            nonce: boot.nonce,
        };
        let boot_of = |peer: &PeerBoot| Boot { number: peer.boot, nonce: peer.nonce };
        let seen = seen.iter().map(|peer| ((peer.node, peer.incarnation), boot_of(peer))).collect();
        Self { own, seen, strangers: BTreeSet::new(), news: false }
    }

    /// The cluster exists, and its frames say so.
    pub fn founded(&mut self, cluster: ClusterId) {
        self.own.cluster = cluster;
    }

    /// This node begins another boot without a restart, because its number was taken.
    pub fn reboot(&mut self, boot: Boot) {
        (self.own.boot, self.own.nonce) = (boot.number, boot.nonce);
    }

    /// The envelope of a frame.
    #[must_use]
    pub fn header(&self, to: NodeId, kind: Kind) -> PeerHeader {
        PeerHeader { to, kind: kind.number(), ..self.own }
    }

    /// This node's data directory.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.own.incarnation
    }

    /// This node's boot.
    #[must_use]
    pub fn boot(&self) -> Boot {
        Boot { number: self.own.boot, nonce: self.own.nonce }
    }

    /// The newest boot that was seen of a directory.
    #[must_use]
    pub fn boot_of(&self, directory: Voter) -> Option<Boot> {
        self.seen.get(&directory).copied()
    }

    /// Everything that was seen, for the hard state.
    #[must_use]
    pub fn seen(&self) -> Vec<PeerBoot> {
        let record = |(&(node, incarnation), boot): (&(NodeId, Incarnation), &Boot)| PeerBoot {
            node,
            incarnation,
            boot: boot.number,
            nonce: boot.nonce,
        };
        self.seen.iter().map(record).collect()
    }

    /// Whether boots were seen since the last call. They are to be remembered through a restart.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Whether a frame may be handled. Of a directory that belongs to no cluster yet nothing is remembered once this node's exists: it has
    /// promised nothing to anybody. `votes` says which directories vote: the boots of others make room where there is none.
    pub fn check(&mut self, header: &PeerHeader, votes: impl Fn(Voter) -> bool) -> Check {
        let nowhere = ClusterId(0);
        let same_cluster = header.cluster == self.own.cluster
            || match Kind::from_number(header.kind) {
                Some(Kind::Founding) => header.cluster == nowhere || self.own.cluster == nowhere,
                // An image from before the founding does not know its cluster.
                Some(Kind::Quarantine) => self.own.cluster == nowhere,
                _ => false,
            };
        let ours = header.to == self.own.from && header.from != self.own.from && header.group == 0;
        if ours && !same_cluster && header.cluster != nowhere && self.own.cluster != nowhere {
            return Check::Stranger(self.stranger(header));
        }
        if !ours || !same_cluster || header.boot > MOST_BOOTS {
            return Check::Foreign;
        }
        let boot = Boot { number: header.boot, nonce: header.nonce };
        let directory = (header.from, header.incarnation);
        match self.seen.get(&directory).copied() {
            Some(known) if known == boot => Check::Accepted,
            Some(known) if known.number >= boot.number => {
                let (boot, nonce) = (known.number, known.nonce);
                Check::Quarantined(Quarantine { incarnation: header.incarnation, boot, nonce })
            }
            None if header.cluster == nowhere && self.own.cluster != nowhere => Check::Accepted,
            None if !self.has_room(votes) => Check::Foreign,
            _ => {
                self.seen.insert(directory, boot);
                self.news = true;
                Check::Accepted
            }
        }
    }

    /// Whether one more boot can be remembered. A directory that does not vote has made no promise that counts, so what is known of it
    /// may be forgotten.
    fn has_room(&mut self, votes: impl Fn(Voter) -> bool) -> bool {
        if self.seen.len() >= MAX_PEERS {
            self.seen.retain(|directory, _| votes(*directory));
        }
        self.seen.len() < MAX_PEERS
    }

    /// A directory of another cluster, which is to be named once.
    fn stranger(&mut self, header: &PeerHeader) -> Stranger {
        let first =
            self.strangers.len() < STRANGERS && self.strangers.insert((header.from, header.incarnation));
        Stranger { cluster: header.cluster, ours: self.own.cluster, first }
    }

    /// Whether a notice that this node got really means its present boot: if so, its directory is an old image.
    #[must_use]
    pub fn is_old_image(&self, notice: &Quarantine) -> bool {
        let taken = notice.boot == self.own.boot && notice.nonce != self.own.nonce;
        notice.incarnation == self.own.incarnation
            && notice.boot <= MOST_BOOTS
            && (notice.boot > self.own.boot || taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn book(id: NodeId, number: u64, nonce: u64) -> PeerBook {
        let mut book =
            PeerBook::new(id, Incarnation(u64::from(id.0)), Boot { number: BootNumber(number), nonce }, &[]);
        book.founded(ClusterId(7));
        book
    }

    fn check(book: &mut PeerBook, header: &PeerHeader) -> Check {
        book.check(header, |_| true)
    }

    #[test]
    fn a_known_boot_number_under_another_nonce_is_quarantined() {
        let mut a = book(A, 1, 1);
        assert_eq!(check(&mut a, &book(B, 5, 50).header(A, Kind::Raft)), Check::Accepted);
        assert!(a.take_news() && !a.take_news());
        assert_eq!(check(&mut a, &book(B, 5, 50).header(A, Kind::Raft)), Check::Accepted);
        assert!(!a.take_news());
        let old_image = book(B, 5, 51);
        let Check::Quarantined(notice) = check(&mut a, &old_image.header(A, Kind::Raft)) else {
            panic!("the boot number is taken")
        };
        assert!(old_image.is_old_image(&notice));
        assert!(!book(B, 6, 60).is_old_image(&notice), "a later boot has nothing to doubt");
    }

    #[test]
    fn a_lower_boot_number_is_not_listened_to() {
        let mut a = book(A, 1, 1);
        check(&mut a, &book(B, 5, 50).header(A, Kind::Raft));
        assert!(matches!(check(&mut a, &book(B, 4, 40).header(A, Kind::Raft)), Check::Quarantined(_)));
    }

    #[test]
    fn a_boot_number_without_room_above_it_is_not_believed() {
        let mut a = book(A, 1, 1);
        assert_eq!(check(&mut a, &book(B, u64::MAX, 1).header(A, Kind::Raft)), Check::Foreign);
        let notice = Quarantine { incarnation: Incarnation(1), boot: BootNumber(u64::MAX), nonce: 9 };
        assert!(!a.is_old_image(&notice), "the boot after it could not be numbered");
        assert!(a.is_old_image(&Quarantine { boot: MOST_BOOTS, ..notice }));
    }

    #[test]
    fn strangers_without_end_are_not_all_remembered() {
        let mut a = book(A, 1, 1);
        let named = (0..10 * STRANGERS as u64).filter(|incarnation| {
            let mut header = book(B, 1, 1).header(A, Kind::Raft);
            (header.cluster, header.incarnation) = (ClusterId(8), Incarnation(*incarnation));
            matches!(check(&mut a, &header), Check::Stranger(Stranger { first: true, .. }))
        });
        assert_eq!(named.count(), STRANGERS);
    }

    #[test]
    fn frames_of_another_cluster_or_for_another_node_are_foreign() {
        let mut a = book(A, 1, 1);
        let mut other = book(B, 1, 1);
        assert_eq!(check(&mut a, &other.header(NodeId(3), Kind::Raft)), Check::Foreign);
        other.founded(ClusterId(8));
        let stranger = |first| Check::Stranger(Stranger { cluster: ClusterId(8), ours: ClusterId(7), first });
        assert_eq!(check(&mut a, &other.header(A, Kind::Raft)), stranger(true));
        assert_eq!(check(&mut a, &other.header(A, Kind::Raft)), stranger(false), "it is named once");
        other.founded(ClusterId(0));
        assert_eq!(check(&mut a, &other.header(A, Kind::Raft)), Check::Foreign);
        assert_eq!(check(&mut a, &other.header(A, Kind::Founding)), Check::Accepted);
    }

    #[test]
    fn of_directories_without_a_cluster_nothing_is_remembered() {
        let mut a = book(A, 1, 1);
        let mut newcomer = book(B, 1, 1);
        newcomer.founded(ClusterId(0));
        assert_eq!(check(&mut a, &newcomer.header(A, Kind::Founding)), Check::Accepted);
        assert!(a.seen().is_empty() && !a.take_news(), "it may never be taken in");
    }

    #[test]
    fn boots_of_directories_that_vote_are_kept_when_there_are_too_many() {
        let mut a = book(A, 1, 1);
        let votes = |(node, _): Voter| node == B;
        for id in 2..2 + MAX_PEERS as u16 {
            let header = book(NodeId(id), 1, 1).header(A, Kind::Raft);
            assert_eq!(a.check(&header, votes), Check::Accepted);
        }
        let header = book(NodeId(99), 1, 1).header(A, Kind::Raft);
        assert_eq!(a.check(&header, |_| true), Check::Foreign, "all of them vote");
        assert_eq!(a.check(&header, votes), Check::Accepted);
        let seen: Vec<NodeId> = a.seen().iter().map(|peer| peer.node).collect();
        assert_eq!(seen, [B, NodeId(99)]);
    }
}
