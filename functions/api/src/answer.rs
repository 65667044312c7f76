//! Answers that are more or less than one JSON value. Each says in its type what it holds: the document of the API is made of the
//! handlers' signatures (`openapi.rs`).

use axum::response::{IntoResponse, Response};
use std::marker::PhantomData;

/// A response that a handler made by hand, which holds what `K` says.
pub(crate) struct Raw<K>(Response, PhantomData<fn() -> K>);

impl<K> From<Response> for Raw<K> {
    fn from(response: Response) -> Self {
        Self(response, PhantomData)
    }
}

impl<K> IntoResponse for Raw<K> {
    fn into_response(self) -> Response {
        self.0
    }
}

/// A tar; nothing when there is none, where that may be.
pub(crate) enum Tar {}
/// A Terraform state, or nothing when there is none.
pub(crate) enum StateText {}
/// A program's bytes, or that the client has them already.
pub(crate) enum Program {}
/// A JSON document, or that the client has it already.
pub(crate) enum Document {}
/// A page for a browser.
pub(crate) enum Page {}
/// The way to another page.
pub(crate) enum Elsewhere {}
/// A picture.
pub(crate) enum Picture {}
/// A shell script.
pub(crate) enum Script {}
/// A value that was made for this request, or one that was there.
pub(crate) struct Kept<T>(PhantomData<T>);
/// A value that was made, or nothing where none is needed.
pub(crate) struct Made<T>(PhantomData<T>);
/// A value, and a cookie that is set or taken away.
pub(crate) struct WithCookie<T>(PhantomData<T>);
/// What there is of a list; or, followed by websocket, also what comes: `F` is one frame.
pub(crate) struct Followed<T, F>(PhantomData<(T, F)>);
/// A websocket on which each frame is a `T`.
pub(crate) struct Frames<T>(PhantomData<T>);
/// A websocket to a terminal.
pub(crate) enum Terminal {}
/// Server-sent events of the types `data`, each a `T`, and `ping`.
pub(crate) struct Events<T>(PhantomData<T>);
