//! The file that describes a network: its hosts, and what each path between them does.
//!
//! ```toml
//! seed = 42                      # everything random follows from it
//! matrix = "aws"                 # delays by region, for paths that the file does not name
//! default = "delay 1ms"          # for every path that nothing else names; else a perfect wire
//!
//! [[host]]
//! name = "a"
//! region = "eu-west-1"           # where the matrix has it
//! address = "127.0.0.1:7001"     # where its program is
//! front = "127.0.0.1:9001"       # where the others reach it
//!
//! [[host]]
//! name = "b"
//!
//! [[path]]
//! between = ["a", "b"]           # both ways; or from = "a" and to = "b"
//! netem = "delay 40ms loss 1%"   # words, or a table of them: see netem::words
//!
//! [[path.change]]                # any number, at times since the network began
//! at = "10s"
//! set = "delay 80ms"             # or ramp = "delay 80ms" and over = "5s"
//!                                # or down = "2s"
//!                                # or flap = { up = "1s", down = "200ms", lasts = "10s" }
//! ```
//!
//! Of two paths that name the same direction, the later one is all that counts. Everything that is
//! wrong with a file is reported at once, each fault on one line with its number. Which keys a host
//! needs is for the backend to say: this is what the file says, and that it makes sense.

mod change;
mod document;
mod error;
mod print;
mod read;
mod value;

use std::{
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::Path,
    str::FromStr,
};

pub use self::error::{Fault, Problem, TopologyError};
use crate::model::{PairModel, Schedule};

/// A network: complete and consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    seed: u64,
    matrix: Option<String>,
    default: Option<PairModel>,
    hosts: Vec<HostSpec>,
    /// By `from` and `to`, one for each direction.
    paths: Vec<PathSpec>,
}

/// A host of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    name: String,
    region: Option<String>,
    address: Option<SocketAddr>,
    front: Option<SocketAddr>,
}

/// What one direction between two hosts does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSpec {
    from: usize,
    to: usize,
    model: Option<PairModel>,
    schedule: Option<Schedule>,
}

impl Topology {
    /// Reads a file.
    ///
    /// # Errors
    /// - [`TopologyError::Read`]: there is no file, or it is not UTF-8 text.
    /// - [`TopologyError::Invalid`]: it lists everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, TopologyError> {
        let text = text_of(path).map_err(|source| TopologyError::Read {
            path: path.to_owned(),
            source,
        })?;
        read::read(&text).map_err(|problems| TopologyError::Invalid {
            path: Some(path.to_owned()),
            problems,
        })
    }

    /// A network that this program thought up, and not its user.
    pub(crate) fn made(seed: u64, hosts: Vec<HostSpec>, mut paths: Vec<PathSpec>) -> Self {
        paths.sort_by_key(PathSpec::ends);
        Self {
            seed,
            matrix: None,
            default: None,
            hosts,
            paths,
        }
    }

    /// Where everything random begins.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The matrix of delays that is still to be applied, by its name: see [`Self::apply_matrix`].
    pub fn matrix(&self) -> Option<&str> {
        self.matrix.as_deref()
    }

    /// What a path does that nothing names.
    pub fn default(&self) -> Option<&PairModel> {
        self.default.as_ref()
    }

    /// The hosts, 1 to [`Self::MAX_HOSTS`], no two of one name.
    pub fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    /// The directions that something is said of, ordered by [`PathSpec::from`] and
    /// [`PathSpec::to`].
    pub fn paths(&self) -> &[PathSpec] {
        &self.paths
    }

    /// What is said of the direction between two hosts, by their places in [`Self::hosts`].
    pub fn path(&self, from: usize, to: usize) -> Option<&PathSpec> {
        let place = self.paths.binary_search_by_key(&(from, to), PathSpec::ends);
        place.ok().map(|place| &self.paths[place])
    }

    /// What the direction between two hosts does at the beginning: what its path says, or the
    /// default, or nothing.
    ///
    /// A matrix that is not applied does not count.
    pub fn model(&self, from: usize, to: usize) -> PairModel {
        let path = self.path(from, to).and_then(PathSpec::model);
        path.or(self.default.as_ref()).cloned().unwrap_or_default()
    }

    /// Gives every direction that has no model the one that `model_of` finds in the matrix; where
    /// that is `None`, the default goes on to hold. Then [`Self::matrix`] is `None`: it stands in
    /// the paths.
    ///
    /// Does nothing where there is no matrix.
    ///
    /// # Errors
    /// The first of `model_of`; then nothing has changed.
    pub fn apply_matrix<E>(
        &mut self,
        mut model_of: impl FnMut(&str, &HostSpec, &HostSpec) -> Result<Option<PairModel>, E>,
    ) -> Result<(), E> {
        let Some(matrix) = &self.matrix else {
            return Ok(());
        };
        let mut paths = Vec::new();
        for (from, sender) in self.hosts.iter().enumerate() {
            for (to, receiver) in self.hosts.iter().enumerate().filter(|(to, _)| *to != from) {
                let said = self.path(from, to).cloned();
                let mut path = said.unwrap_or_else(|| PathSpec::unsaid(from, to));
                if path.model.is_none() {
                    path.model = model_of(matrix, sender, receiver)?;
                }
                if path != PathSpec::unsaid(from, to) {
                    paths.push(path);
                }
            }
        }
        self.paths = paths;
        self.matrix = None;
        Ok(())
    }

    /// Changes what paths do at the beginning, the default included.
    pub(crate) fn change_models(&mut self, change: impl FnMut(&mut PairModel)) {
        let models = self.paths.iter_mut().filter_map(|path| path.model.as_mut());
        models.chain(&mut self.default).for_each(change);
    }

    /// More than fit one machine, and few enough that all pairs of them do.
    pub const MAX_HOSTS: usize = 1_000;
}

/// What a file holds, unless that is more than anybody writes.
fn text_of(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        let limit = format!("it has more than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, limit));
    }
    Ok(text)
}

/// A thousand hosts, each with paths to a dozen others and a page of changes.
const MAX_FILE_BYTES: u64 = 64 << 20;

impl FromStr for Topology {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Self, TopologyError> {
        read::read(text).map_err(|problems| TopologyError::Invalid {
            path: None,
            problems,
        })
    }
}

impl HostSpec {
    /// A host for [`Topology::made`].
    pub(crate) fn made(
        name: String,
        address: Option<SocketAddr>,
        front: Option<SocketAddr>,
    ) -> Self {
        Self {
            name,
            region: None,
            address,
            front,
        }
    }

    /// Its name: letters, digits, `-`, `_` and `.`, at most 63, the first a letter or a digit.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the matrix has it.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Where its program is.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where the others reach it; no two hosts share an address, be it this or the program's, unless
    /// its port is 0.
    pub fn front(&self) -> Option<SocketAddr> {
        self.front
    }
}

impl PathSpec {
    /// A path for [`Topology::made`].
    pub(crate) fn made(from: usize, to: usize, model: PairModel, schedule: Schedule) -> Self {
        Self {
            from,
            to,
            model: Some(model),
            schedule: Some(schedule),
        }
    }

    /// The sender, by its place in [`Topology::hosts`].
    pub fn from(&self) -> usize {
        self.from
    }

    /// The receiver, by its place in [`Topology::hosts`]; another than the sender.
    pub fn to(&self) -> usize {
        self.to
    }

    /// What it does; `None` is left to the matrix and the default.
    pub fn model(&self) -> Option<&PairModel> {
        self.model.as_ref()
    }

    /// How that changes.
    pub fn schedule(&self) -> Option<&Schedule> {
        self.schedule.as_ref()
    }

    fn unsaid(from: usize, to: usize) -> Self {
        Self {
            from,
            to,
            model: None,
            schedule: None,
        }
    }

    fn ends(&self) -> (usize, usize) {
        (self.from, self.to)
    }
}
