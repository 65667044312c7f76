//! Pictures for what templates name: `/icon/docker.svg`, `/emojis/1f4bb.png`. They are drawn here, so that no page fetches one from
//! elsewhere and none is another's trademark: an icon is the first letters of its name on a tile, an emoji is the reader's own.

use crate::{
    answer::{Picture, Raw},
    body::Segment,
    error::{Answer, ApiError},
};
use axum::response::IntoResponse;
use http::{StatusCode, header};

/// The longest name of a picture, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// The most code points of one emoji; the longest sequences of families and flags have ten.
const CODE_POINTS_MAX: usize = 10;

fn missing() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "there is no such picture")
}

/// The name without its ending.
fn stem(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".svg").or_else(|| name.strip_suffix(".png"))?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.+".contains(&byte);
    (!stem.is_empty() && name.len() <= NAME_BYTES_MAX && stem.bytes().all(allowed)).then_some(stem)
}

fn picture(body: &str) -> Raw<Picture> {
    let svg = format!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">{body}</svg>"#);
    let headers = [(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "public, max-age=86400")];
    (headers, svg).into_response().into()
}

/// Draws an icon: two letters of its name on a tile, whose colour follows from the name. Always as SVG, whatever the name ends with.
pub(crate) async fn icon(Segment(name): Segment<String>) -> Answer<Raw<Picture>> {
    let stem = stem(&name).ok_or_else(missing)?;
    let letters: String = stem.chars().filter(char::is_ascii_alphanumeric).take(2).collect::<String>().to_ascii_uppercase();
    let hue = stem.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % 360;
    Ok(picture(&format!(
        r##"<rect width="64" height="64" rx="12" fill="hsl({hue} 45% 40%)"/><text x="32" y="33" fill="#fff" font-family="system-ui,sans-serif" font-size="28" font-weight="600" text-anchor="middle" dominant-baseline="central">{letters}</text>"##
    )))
}

/// Draws an emoji by its code points in hexadecimal, with hyphens between them: `1f3f3-fe0f-200d-1f308.png`.
pub(crate) async fn emoji(Segment(name): Segment<String>) -> Answer<Raw<Picture>> {
    let text = stem(&name).and_then(characters).ok_or_else(missing)?;
    Ok(picture(&format!(r#"<text x="32" y="34" font-size="52" text-anchor="middle" dominant-baseline="central">{text}</text>"#)))
}

/// The characters that code points name: none that XML minds, so nothing is to be escaped.
fn characters(codes: &str) -> Option<String> {
    let character = |code: &str| {
        let character = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
        let keycap = character.is_ascii_digit() || "#*".contains(character);
        (keycap || ('\u{a0}'..'\u{fff0}').contains(&character) || character >= '\u{10000}').then_some(character)
    };
    let characters: Option<String> = codes.split('-').map(character).collect();
    characters.filter(|characters| characters.chars().count() <= CODE_POINTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emoji_is_code_points_and_nothing_that_is_markup() {
        assert_eq!(characters("1f4bb").as_deref(), Some("\u{1f4bb}"));
        assert_eq!(characters("23-fe0f-20e3").as_deref(), Some("#\u{fe0f}\u{20e3}"));
        for bad in ["3c", "26", "0", "ffff", "d800", "110000", "", "x", "1f4bb-", "+1f4bb-3c"] {
            assert_eq!(characters(bad), None, "{bad}");
        }
        assert_eq!(characters(&["1f4bb"; 11].join("-")), None);
    }

    #[test]
    fn a_picture_has_a_plain_name() {
        assert_eq!(stem("docker.svg"), Some("docker"));
        assert_eq!(stem("k8s.png"), Some("k8s"));
        for bad in ["docker", ".svg", "<b>.svg", "A.svg", "a/b.svg", &format!("{}.svg", "a".repeat(64))] {
            assert_eq!(stem(bad), None, "{bad}");
        }
    }
}
