//! What a lab leaves on the machine, and how it is cleared away.
//!
//! ```text
//! /run/netem/<lab>/               locked (flock) by whoever builds, runs or clears the lab
//!                  state.json     the process that runs it
//!                  regions/<r>    the namespace of region r is mounted here, or is about to be
//! /run/netns/netem-<lab>-<r>  ->  /run/netem/<lab>/regions/<r>
//! ```
//!
//! A file in `regions` is made before anything else of its region and removed after everything
//! else, so a lab that was killed at any moment can be cleared from what is in the directory.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{EnterError, LabName, Namespace, Process, RegionName, namespace::Place};

/// What a lab says of itself to those who have not claimed it.
#[derive(Debug)]
pub struct State {
    directory: Directory,
    forwarder: Option<Process>,
    regions: Vec<RegionName>,
}

impl State {
    /// Reads the state of a lab; nothing if there is no such lab.
    ///
    /// # Errors
    /// [`StateError`] if it cannot be read.
    pub fn load(lab: &LabName) -> Result<Option<Self>, StateError> {
        Self::load_from(Directory::new(lab))
    }

    fn load_from(directory: Directory) -> Result<Option<Self>, StateError> {
        if !directory.path().is_dir() {
            return Ok(None);
        }
        let forwarder = Record::load(&directory)?.forwarder;
        let regions = directory.regions().map_err(|source| StateError {
            path: directory.regions_path(),
            source,
        })?;
        Ok(Some(Self {
            directory,
            forwarder,
            regions,
        }))
    }

    /// Whether the process that runs it is alive. One that is not was killed: claiming it clears
    /// what it left.
    pub fn is_alive(&self) -> bool {
        self.forwarder.is_some_and(|forwarder| forwarder.is_alive())
    }

    /// The process that runs it, or did; none while it is being built.
    pub fn forwarder(&self) -> Option<Process> {
        self.forwarder
    }

    /// The lab's directory; see [`super::Claim::directory`].
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its regions, by name.
    pub fn regions(&self) -> &[RegionName] {
        &self.regions
    }

    /// The namespace of one of its regions.
    ///
    /// # Errors
    /// [`EnterError`] if it is not there.
    pub fn namespace(&self, region: &RegionName) -> Result<Namespace, EnterError> {
        Namespace::open(self.directory.mount(region))
    }
}

/// Why the record of a lab cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or write {}", path.display())]
pub struct StateError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The contents of `state.json`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) forwarder: Option<Process>,
}

impl Record {
    /// A lab without a record is one that is being built.
    pub(super) fn load(directory: &Directory) -> Result<Self, StateError> {
        let path = directory.path.join(RECORD);
        let record = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        };
        record.map_err(|source| StateError { path, source })
    }

    /// Writes it so that a reader sees the old one or the new one.
    pub(super) fn save(&self, directory: &Directory) -> Result<(), StateError> {
        let path = directory.path.join(RECORD);
        let save = || {
            let new = path.with_extension("new");
            fs::write(&new, serde_json::to_vec(self)?)?;
            fs::rename(&new, &path)
        };
        save().map_err(|source| StateError {
            path: path.clone(),
            source,
        })
    }
}

/// Where the parts of one lab are.
#[derive(Debug)]
pub(super) struct Directory {
    lab: LabName,
    path: PathBuf,
}

impl Directory {
    pub(super) fn new(lab: &LabName) -> Self {
        Self::below(Path::new(LABS), lab)
    }

    pub(super) fn below(labs: &Path, lab: &LabName) -> Self {
        Self {
            lab: lab.clone(),
            path: labs.join(lab.as_str()),
        }
    }

    pub(super) fn lab(&self) -> &LabName {
        &self.lab
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn regions_path(&self) -> PathBuf {
        self.path.join(REGIONS)
    }

    /// The regions that were made or begun, sorted.
    pub(super) fn regions(&self) -> io::Result<Vec<RegionName>> {
        let entries = match fs::read_dir(self.regions_path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut regions = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let region = name.to_str().map(RegionName::try_new);
            regions.extend(region.and_then(Result::ok));
        }
        regions.sort();
        Ok(regions)
    }

    pub(super) fn place(&self, region: &RegionName) -> Place {
        Place::new(self.mount(region), &self.lab.namespace(region))
    }

    fn mount(&self, region: &RegionName) -> PathBuf {
        self.regions_path().join(region.as_str())
    }
}

const LABS: &str = "/run/netem";
const RECORD: &str = "state.json";
const REGIONS: &str = "regions";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_recorded() {
        let labs = tempfile::tempdir().unwrap();
        let directory = || Directory::below(labs.path(), &LabName::try_new("lab").unwrap());
        assert!(State::load_from(directory()).unwrap().is_none());

        fs::create_dir_all(directory().regions_path()).unwrap();
        let building = State::load_from(directory()).unwrap().unwrap();
        assert!(building.forwarder().is_none() && !building.is_alive());
        assert!(building.regions().is_empty());

        let this = Process::current().unwrap();
        let record = Record {
            forwarder: Some(this),
        };
        record.save(&directory()).unwrap();
        for name in ["us", "eu", "Not-A-Region"] {
            fs::write(directory().regions_path().join(name), "").unwrap();
        }
        let up = State::load_from(directory()).unwrap().unwrap();
        assert_eq!(up.forwarder(), Some(this));
        assert!(up.is_alive());
        let names: Vec<_> = up.regions().iter().map(RegionName::as_str).collect();
        assert_eq!(names, ["eu", "us"]);
        let no_namespace = up.namespace(&up.regions()[0]).unwrap();
        no_namespace.run_in(|| ()).unwrap_err();
    }
}
