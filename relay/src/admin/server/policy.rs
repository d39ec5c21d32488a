//! Answers requests about the policy of the fleet, and takes a new one.

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    response::Response,
};

use super::{View, mesh::answer, refuse};

pub(super) async fn policy(State(view): View) -> Response {
    answer(view.policy()).await
}

/// It carries its own proof: whoever may ask may bring one.
pub(super) async fn apply(State(view): View, signed: Result<Bytes, BytesRejection>) -> Response {
    match signed {
        Ok(signed) => answer(view.apply_policy(signed.to_vec())).await,
        Err(error) => refuse(error.status(), error.body_text()),
    }
}
