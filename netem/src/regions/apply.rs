//! A matrix as the paths of a topology.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{Matrix, MatrixError, UnknownRegion};
use crate::{
    model::PairModel,
    topology::{HostSpec, Topology},
};

/// Gives every path that the topology leaves to its matrix what that measured. A host is in its
/// region, or where it names none, in the region of its own name. Does nothing without a matrix.
///
/// # Errors
/// [`ApplyError`]; nothing has changed then.
pub fn apply(topology: &mut Topology) -> Result<(), ApplyError> {
    let Some(name) = topology.matrix() else {
        return Ok(());
    };
    let matrix = Matrix::load(name)?;
    let region = |host: &HostSpec| host.region().unwrap_or_else(|| host.name()).to_owned();
    // Hosts of the same two regions share one model.
    let mut paths = BTreeMap::new();
    topology.apply_matrix(|_, from, to| {
        let model = match paths.entry((region(from), region(to))) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let (from, to) = place.key();
                let model = matrix.path(from, to)?;
                place.insert(model)
            }
        };
        Ok(Some(PairModel::clone(model)))
    })
}

/// Why a matrix says nothing about a topology.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There is no such matrix.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// It does not know where a host is.
    #[error(transparent)]
    Region(#[from] UnknownRegion),
}
