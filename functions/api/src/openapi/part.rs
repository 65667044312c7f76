//! What each part of a handler's signature says of its operation.

use super::Operation;
use crate::{
    Shared,
    answer::{
        Document, Elsewhere, Events, Followed, Frames, Kept, Made, Page, Picture, Program, Raw, Script, StateText, Tar, Terminal,
        WithCookie,
    },
    body::{Asked, Json, Segment, Unread},
    error::ApiError,
    page::Form,
    session::{Authenticated, CallingAgent, CallingRunner, Uploader, Visitor},
    socket::Upgrade,
    upload::Sent,
    user::Peer,
};
use axum::extract::State;
use berth_wire::{state::UpdateState, upload::UPLOAD_HEADER, user::CreateToken};
use http::{HeaderMap, StatusCode, Uri};
use schemars::JsonSchema;

/// A handler that says what it takes and answers.
pub(crate) trait Described<T> {
    fn describe(operation: &mut Operation<'_>);
}

/// What a handler takes.
pub(crate) trait Taken {
    fn describe(_: &mut Operation<'_>) {}
}

/// What a handler answers.
pub(crate) trait Answered {
    fn describe(operation: &mut Operation<'_>);
}

macro_rules! handlers {
    ($(($($part:ident),*)),+) => {$(
        impl<F, Fut, Out, M, $($part),*> Described<(M, $($part,)*)> for F
        where
            F: Fn($($part),*) -> Fut,
            Fut: Future<Output = Out>,
            Out: Answered,
            $($part: Taken),*
        {
            fn describe(operation: &mut Operation<'_>) {
                $($part::describe(operation);)*
                Out::describe(operation);
            }
        }
    )+};
}
handlers!((A), (A, B), (A, B, C), (A, B, C, D), (A, B, C, D, E), (A, B, C, D, E, G), (A, B, C, D, E, G, H));

impl<F, Fut, Out> Described<((),)> for F
where
    F: Fn() -> Fut,
    Fut: Future<Output = Out>,
    Out: Answered,
{
    fn describe(operation: &mut Operation<'_>) {
        Out::describe(operation);
    }
}

impl Taken for State<Shared> {}
impl Taken for Authenticated {}
impl Taken for Visitor {}
impl Taken for CallingAgent {}
impl Taken for CallingRunner {}
impl Taken for Uploader {}
impl Taken for Peer {}
impl Taken for HeaderMap {}
impl Taken for Uri {}
impl Taken for Upgrade {}

impl<T: JsonSchema> Taken for Segment<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.path::<T>();
    }
}

impl<T: JsonSchema> Taken for Asked<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.query::<T>();
    }
}

impl<T: JsonSchema> Taken for Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<T>("application/json", true);
    }
}

impl Taken for Unread<UpdateState> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<UpdateState>("application/json", true);
    }
}

impl Taken for Unread<Option<CreateToken>> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<CreateToken>("application/json", false);
    }
}

impl Taken for Unread<Form> {
    fn describe(operation: &mut Operation<'_>) {
        operation.body::<Form>("application/x-www-form-urlencoded", true);
    }
}

impl Taken for Sent {
    fn describe(operation: &mut Operation<'_>) {
        operation.header(UPLOAD_HEADER, "The SHA-256 of a body that was uploaded before, instead of a body.");
        operation.bytes();
    }
}

impl<T: Answered> Answered for Result<T, ApiError> {
    fn describe(operation: &mut Operation<'_>) {
        T::describe(operation);
    }
}

impl<T: JsonSchema> Answered for Json<T> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(200, "Done.");
    }
}

impl<T: JsonSchema> Answered for (StatusCode, Json<T>) {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(201, "Made.");
    }
}

impl Answered for StatusCode {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer_of(204, "Done.", None);
    }
}

impl Answered for &str {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer_of(200, "Done.", Some("text/plain"));
    }
}

impl<T: JsonSchema> Answered for Raw<Kept<T>> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(200, "It was there.");
        operation.answer::<T>(201, "Made.");
    }
}

impl<T: JsonSchema> Answered for Raw<Made<T>> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(201, "Made.");
        operation.answer_of(204, "None is needed.", None);
    }
}

impl<T: JsonSchema> Answered for Raw<WithCookie<T>> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(200, "The cookie is taken away.");
        operation.answer::<T>(201, "The cookie is set.");
    }
}

impl<T: JsonSchema, F: JsonSchema> Answered for Raw<Followed<T, F>> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(200, "What there is.");
        operation.answer::<F>(
            101,
            "With `follow`: a websocket, on which each frame is one of these. It is closed when nothing more can come.",
        );
    }
}

impl<T: JsonSchema> Answered for Raw<Frames<T>> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer::<T>(101, "A websocket, on which each frame is one of these.");
    }
}

impl Answered for Raw<Terminal> {
    fn describe(operation: &mut Operation<'_>) {
        let frames = "A websocket: the client sends frames of JSON, `{\"data\": TEXT}` or `{\"height\": ROWS, \"width\": COLUMNS}`, and \
            `{\"ack\": BYTES}` if it wants to be sent no more than it can show; it gets what the program writes in binary ones.";
        operation.answer_of(101, frames, None);
    }
}

impl<T: JsonSchema> Answered for Raw<Events<T>> {
    fn describe(operation: &mut Operation<'_>) {
        operation.answer_of(200, "Events of the types `data`, each with a value, and `ping`.", Some("text/event-stream"));
        let schema = super::schema::tidy(operation.schemas.answers.subschema_for::<T>().to_value());
        operation.answers["200"]["x-event-data"] = schema;
    }
}

macro_rules! raw {
    ($($kind:ty: $(($status:literal, $words:literal, $media:expr)),+);+ $(;)?) => {$(
        impl Answered for Raw<$kind> {
            fn describe(operation: &mut Operation<'_>) {
                $(operation.answer_of($status, $words, $media);)+
            }
        }
    )+};
}
raw! {
    Tar: (200, "A tar.", Some("application/x-tar")), (204, "There is none.", None);
    StateText: (200, "A Terraform state.", Some("application/json")), (204, "There is none.", None);
    Program: (200, "The program's bytes.", Some("application/octet-stream")), (304, "The client has it.", None);
    Document: (200, "The document.", Some("application/json")), (304, "The client has it.", None);
    Page: (200, "A page.", Some("text/html")), (401, "The page, and what was wrong.", Some("text/html"));
    Elsewhere: (303, "The way on.", None);
    Picture: (200, "A picture.", Some("image/svg+xml"));
    Script: (200, "A shell script.", Some("text/x-shellscript"));
}
