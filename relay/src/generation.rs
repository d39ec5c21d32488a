//! A node's own generation: chosen at the start, moved once if a peer knows a higher one.

use std::{io, time::SystemTime};

use thiserror::Error;

use crate::{env::StateStore, id::NodeGeneration};

/// Decides the node's own generation.
///
/// ```text
///   start ── max(wall clock in ms, persisted + 1) ──▶ First
///   First ── a peer knows a higher one ─────────────▶ Moved (persisted above it)
///   Moved ── a peer knows a higher one again ───────▶ DuplicateName
///   DuplicateName ── the operator reloads ──────────▶ First
/// ```
///
/// One conflict has honest causes: a lost state directory together with a clock set back. A second
/// one means that another process with this name is moving too.
#[derive(Debug)]
pub struct OwnGeneration {
    current: NodeGeneration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    First,
    Moved,
    DuplicateName,
}

/// What a peer's knowledge of a higher generation means for this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// The report is about a generation that this node has left already.
    AlreadyAbove,
    /// Another process uses this name: stop dialing, be not ready.
    DuplicateName,
    /// The node has moved; its links are to be replaced.
    Moved(NodeGeneration),
}

impl OwnGeneration {
    /// Chooses the generation of this run and persists it.
    ///
    /// # Errors
    /// [`GenerationError`]: nothing was chosen, the node must not start.
    pub fn try_start(wall: SystemTime, store: &dyn StateStore) -> Result<Self, GenerationError> {
        let persisted = store.load_generation().map_err(GenerationError::Load)?;
        let since_1970 = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let clock = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let current = clock.max(persisted.map_or(0, |last| last.saturating_add(1)));
        let current = in_range(current)?;
        store
            .store_generation(current.0)
            .map_err(GenerationError::Store)?;
        Ok(Self {
            current,
            state: State::First,
        })
    }

    /// The generation to say in every Hello.
    pub fn current(&self) -> NodeGeneration {
        self.current
    }

    /// Whether another process was found to use this name.
    pub fn is_duplicate(&self) -> bool {
        self.state == State::DuplicateName
    }

    /// The operator has seen to it that no other process uses the name: the node may move above
    /// what that process has left behind.
    pub fn handle_reload(&mut self) {
        if self.state == State::DuplicateName {
            self.state = State::First;
        }
    }

    /// A peer answered that it knows `known` of this node's name.
    ///
    /// # Errors
    /// [`GenerationError`]: the node has not moved, because that could not be made durable.
    pub fn handle_stale(
        &mut self,
        known: NodeGeneration,
        store: &dyn StateStore,
    ) -> Result<Conflict, GenerationError> {
        if known < self.current {
            return Ok(Conflict::AlreadyAbove);
        }
        match self.state {
            State::First => {
                let above = in_range(known.0.saturating_add(1))?;
                store
                    .store_generation(above.0)
                    .map_err(GenerationError::Store)?;
                self.current = above;
                self.state = State::Moved;
                Ok(Conflict::Moved(above))
            }
            State::Moved | State::DuplicateName => {
                self.state = State::DuplicateName;
                Ok(Conflict::DuplicateName)
            }
        }
    }
}

/// Why a node has no generation to run with.
#[derive(Debug, Error)]
pub enum GenerationError {
    /// What was persisted cannot be read.
    #[error("cannot read the node's last generation: {0}")]
    Load(#[source] io::Error),
    /// The number does not fit a packet header.
    #[error("generation {got} is above {max}: the clock or the state directory is wrong")]
    Range {
        /// The number.
        got: u64,
        /// The largest that fits.
        max: NodeGeneration,
    },
    /// The new generation cannot be persisted.
    #[error("cannot persist the node's generation: {0}")]
    Store(#[source] io::Error),
}

fn in_range(number: u64) -> Result<NodeGeneration, GenerationError> {
    if number > NodeGeneration::MAX.0 {
        return Err(GenerationError::Range {
            got: number,
            max: NodeGeneration::MAX,
        });
    }
    Ok(NodeGeneration(number))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::Duration,
    };

    use super::*;

    /// Zero stands for "nothing stored".
    #[derive(Debug, Default)]
    struct Memory(AtomicU64);

    impl StateStore for Memory {
        fn load_generation(&self) -> io::Result<Option<u64>> {
            Ok(Some(self.0.load(Ordering::Relaxed)).filter(|stored| *stored > 0))
        }

        fn store_generation(&self, generation: u64) -> io::Result<()> {
            self.0.store(generation, Ordering::Relaxed);
            Ok(())
        }

        fn load_policy(&self) -> io::Result<Option<Vec<u8>>> {
            Ok(None)
        }

        fn store_policy(&self, _signed: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }

    fn at_ms(ms: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(ms)
    }

    #[test]
    fn restart_with_the_clock_set_back_still_grows() {
        let store = Memory::default();
        let first = OwnGeneration::try_start(at_ms(5_000), &store).unwrap();
        assert_eq!(first.current(), NodeGeneration(5_000));
        let second = OwnGeneration::try_start(at_ms(100), &store).unwrap();
        assert_eq!(second.current(), NodeGeneration(5_001));
    }

    #[test]
    fn moves_above_a_known_generation_once_and_then_is_a_duplicate() {
        let store = Memory::default();
        let mut own = OwnGeneration::try_start(at_ms(100), &store).unwrap();
        let moved = own.handle_stale(NodeGeneration(700), &store).unwrap();
        assert_eq!(moved, Conflict::Moved(NodeGeneration(701)));
        assert_eq!(store.load_generation().unwrap(), Some(701));
        // Answers to Hellos that were under way say nothing new.
        assert_eq!(
            own.handle_stale(NodeGeneration(700), &store).unwrap(),
            Conflict::AlreadyAbove
        );
        assert!(!own.is_duplicate());
        assert_eq!(
            own.handle_stale(NodeGeneration(702), &store).unwrap(),
            Conflict::DuplicateName
        );
        assert!(own.is_duplicate());
        assert_eq!(own.current(), NodeGeneration(701));
    }

    #[test]
    fn duplicate_may_move_once_more_after_a_reload_and_others_may_not() {
        let store = Memory::default();
        let mut own = OwnGeneration::try_start(at_ms(100), &store).unwrap();
        own.handle_stale(NodeGeneration(700), &store).unwrap();
        own.handle_reload();
        let again = own.handle_stale(NodeGeneration(800), &store).unwrap();
        assert_eq!(again, Conflict::DuplicateName);
        own.handle_reload();
        assert!(!own.is_duplicate());
        let moved = own.handle_stale(NodeGeneration(900), &store).unwrap();
        assert_eq!(moved, Conflict::Moved(NodeGeneration(901)));
    }

    #[test]
    fn generation_above_the_header_field_is_refused() {
        let store = Memory::default();
        store.store_generation(NodeGeneration::MAX.0 - 1).unwrap();
        assert_eq!(
            OwnGeneration::try_start(at_ms(1), &store)
                .unwrap()
                .current(),
            NodeGeneration::MAX
        );
        assert!(matches!(
            OwnGeneration::try_start(at_ms(1), &store),
            Err(GenerationError::Range { .. })
        ));
    }
}
