//! Probes: rare states that a campaign must reach, or it proves nothing about them. The core reports its
//! own; the world adds those that only it can see.

use steadfast_core::trace::Probe;

/// Rare states of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorldProbe {
    /// A node was stopped after a sync was complete and before it could answer those who waited for it.
    CrashBetweenSyncAndReply,
    /// A node was stopped while it read its disk.
    RestartDuringRecovery,
    /// All nodes lost their power at one instant.
    PowerLossOfAll,
    /// A leader was stopped.
    LeaderStopped,
    /// A leader was cut off from the others.
    LeaderIsolated,
    /// A frame was let go long after its time, when the cut that had held it was healed.
    HeldFrameReleased,
    /// A leader was paused, and went on after another had been elected.
    LeaderPausedAndReplaced,
    /// A sync failed.
    SyncFailed,
    /// A node lost its disk after the founding.
    DiskWiped,
    /// A write under way at a stop happened in part.
    WriteTorn,
    /// An unsynced sector became garbage.
    SectorGarbled,
    /// An unsynced change of the directory vanished.
    EntryLost,
    /// A file grew without its data.
    SizeWithoutData,
    /// A file that grew without its data showed what an earlier file had held there.
    StaleBytesShown,
    /// A node found its disk damaged and refused to start.
    DamageFound,
    /// A read failed.
    ReadErrorHit,
    /// A write was reported done and lost.
    WriteLost,
    /// A write landed at another place.
    WriteMisdirected,
    /// A strike was kept from the unmarked window, or from the last copy of the newest hard state.
    UnmarkedStrikeSkipped,
    /// A node whose syncs had lied lost its power.
    LiarLostPower,
    /// A node that came back with an old image was told so.
    OldImageQuarantined,
    /// A write ended short for lack of room.
    ShortWrite,
    /// A node was stopped while its damaged log was to be made whole.
    StoppedInRepair,
    /// A sector of what lay cold went bad, and scrubbing had it replaced.
    ColdSectorMended,
    /// A node went back to an older release, and the cluster on to a level that this does not know.
    DowngradeRefused,
    /// A client's connection went half-open under requests.
    HalfOpen,
    /// A client died with requests under way.
    ClientDied,
    /// A client got an indeterminate answer.
    OutcomeUnknown,
    /// A write was answered ahead of its durability, and lost.
    AheadLost,
    /// Somebody waited for a lock, permits or an office under one leader, and was granted it under a later one.
    WaitGrantedByAnotherLeader,
    /// A limiter refused under one leader for what an earlier one had counted.
    LimitRefusedByAnotherLeader,
    /// A client's retry got the answer of an earlier attempt, or executed after one was lost.
    RequestRetried,
    /// A client asked for the same under the same number once more, after an answer or its own death.
    AskedAgain,
    /// Clients began to ask many times as fast, of nodes that were busy with it.
    LoadSurge,
    /// A client's bytes waited for long before a busy node looked at them.
    RequestWaitedLong,
}

impl WorldProbe {
    /// All of them.
    pub const ALL: [Self; 35] = [
        Self::CrashBetweenSyncAndReply,
        Self::RestartDuringRecovery,
        Self::PowerLossOfAll,
        Self::LeaderStopped,
        Self::LeaderIsolated,
        Self::HeldFrameReleased,
        Self::LeaderPausedAndReplaced,
        Self::SyncFailed,
        Self::DiskWiped,
        Self::WriteTorn,
        Self::SectorGarbled,
        Self::EntryLost,
        Self::SizeWithoutData,
        Self::StaleBytesShown,
        Self::DamageFound,
        Self::ReadErrorHit,
        Self::WriteLost,
        Self::WriteMisdirected,
        Self::UnmarkedStrikeSkipped,
        Self::LiarLostPower,
        Self::OldImageQuarantined,
        Self::ShortWrite,
        Self::StoppedInRepair,
        Self::ColdSectorMended,
        Self::DowngradeRefused,
        Self::HalfOpen,
        Self::ClientDied,
        Self::OutcomeUnknown,
        Self::AheadLost,
        Self::WaitGrantedByAnotherLeader,
        Self::LimitRefusedByAnotherLeader,
        Self::RequestRetried,
        Self::AskedAgain,
        Self::LoadSurge,
        Self::RequestWaitedLong,
    ];
}

/// How often each was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    core: Vec<u64>,
    world: Vec<u64>,
}

impl Default for Probes {
    fn default() -> Self {
        Self { core: vec![0; Probe::ALL.len()], world: vec![0; WorldProbe::ALL.len()] }
    }
}

impl Probes {
    /// The core says that a state was reached.
    pub fn core(&mut self, probe: Probe) {
        if let Some(at) = Probe::ALL.iter().position(|known| *known == probe) {
            self.core[at] += 1;
        }
    }

    /// The world says so, so many times.
    pub fn world(&mut self, probe: WorldProbe, times: u64) {
        self.world[probe as usize] += times;
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.core.iter_mut().zip(&other.core).for_each(|(count, more)| *count += more);
        self.world.iter_mut().zip(&other.world).for_each(|(count, more)| *count += more);
    }

    /// Names and counts: the core's first, each in the order of their declaration.
    #[must_use]
    pub fn list(&self) -> Vec<(String, u64)> {
        let core = Probe::ALL.iter().map(|probe| format!("{probe:?}")).zip(self.core.iter().copied());
        let world = WorldProbe::ALL.iter().map(|probe| format!("{probe:?}")).zip(self.world.iter().copied());
        core.chain(world).collect()
    }

    /// The names of those that were never reached.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        self.list().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_world_probe_counts_in_its_own_place() {
        for (i, probe) in WorldProbe::ALL.iter().enumerate() {
            assert_eq!(*probe as usize, i);
        }
    }

    #[test]
    fn what_was_never_reached_is_named() {
        let mut probes = Probes::default();
        probes.core(Probe::RetryMetPending);
        probes.world(WorldProbe::SyncFailed, 2);
        let missing = probes.missing();
        assert_eq!(missing.len(), Probe::ALL.len() + WorldProbe::ALL.len() - 2);
        assert!(!missing.contains(&"SyncFailed".into()) && missing.contains(&"DiskWiped".into()));
    }
}
