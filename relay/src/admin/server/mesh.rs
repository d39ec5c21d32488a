//! Answers requests about the mesh.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    super::question::{Answer, QuestionError},
    View, refuse,
};

pub(super) async fn routes(State(view): View) -> Response {
    answer(view.routes()).await
}

pub(super) async fn route(
    State(view): View,
    name: Result<Path<String>, PathRejection>,
) -> Response {
    match name {
        Ok(Path(name)) => answer(view.route(name)).await,
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.body_text()),
    }
}

pub(super) async fn mesh(State(view): View) -> Response {
    answer(view.mesh()).await
}

/// What an echo may be asked of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EchoQuery {
    /// The link of the path at whose end the node is, from 1; else the destination.
    hop: Option<usize>,
}

pub(super) async fn echo(
    State(view): View,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<EchoQuery>, QueryRejection>,
) -> Response {
    match (name, query) {
        (Ok(Path(name)), Ok(Query(EchoQuery { hop }))) => answer(view.echo(name, hop)).await,
        (Err(error), _) => refuse(StatusCode::BAD_REQUEST, error.body_text()),
        (_, Err(error)) => refuse(StatusCode::BAD_REQUEST, error.body_text()),
    }
}

pub(super) async fn answer<T: Serialize>(answer: Answer<T>) -> Response {
    match answer.await {
        Ok(said) => Json(said).into_response(),
        Err(error) => {
            let status = match error {
                QuestionError::Ambiguous { .. }
                | QuestionError::Itself(_)
                | QuestionError::NoHop { .. }
                | QuestionError::NoNode { .. } => StatusCode::NOT_FOUND,
                QuestionError::NoRouter => StatusCode::SERVICE_UNAVAILABLE,
                QuestionError::Policy(_) => StatusCode::CONFLICT,
            };
            refuse(status, error.to_string())
        }
    }
}
