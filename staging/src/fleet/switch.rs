//! Cuts and heals what lies between two nodes.

use anyhow::Context;
use netem::control::{Client, Command, Paths};

/// Both directions between two nodes of a fleet, to be cut and healed.
#[derive(Debug, Clone)]
pub struct Switch {
    emulator: Client,
    paths: Paths,
}

impl Switch {
    /// For the way between hosts `a` and `b` of `emulator`.
    pub fn new(emulator: Client, a: &str, b: &str) -> Self {
        let paths = Paths {
            from: a.to_owned(),
            to: b.to_owned(),
            one_way: false,
        };
        Self { emulator, paths }
    }

    /// Drops every packet between the two from now on. What is under way still
    /// arrives.
    ///
    /// # Errors
    /// The emulator refused, or did not answer within 5 s.
    ///
    /// # Cancel safety
    /// Cancel safe: it is done or not, and not told.
    pub async fn cut(&self) -> anyhow::Result<()> {
        self.ask(Command::Cut(self.paths.clone())).await
    }

    /// Lets packets pass again.
    ///
    /// # Errors
    /// As for [`Switch::cut`].
    ///
    /// # Cancel safety
    /// As for [`Switch::cut`].
    pub async fn heal(&self) -> anyhow::Result<()> {
        self.ask(Command::Heal(self.paths.clone())).await
    }

    async fn ask(&self, command: Command) -> anyhow::Result<()> {
        let emulator = self.emulator.clone();
        // The client waits in place, and this thread has packets to send meanwhile.
        tokio::task::spawn_blocking(move || emulator.ask(&command))
            .await
            .context("the thread that asks the emulator ended")?
            .context("a link could not be cut or healed")?;
        Ok(())
    }
}
