//! Markdown as a terminal shows it: its words without its marks.

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// The text of a Markdown document; links are followed by their address, HTML is left out.
pub(crate) fn plain(markdown: &str) -> String {
    let mut plain = String::new();
    let mut addresses = Vec::new();
    for event in Parser::new(markdown) {
        match event {
            Event::Text(text) | Event::Code(text) => plain.push_str(&text),
            Event::SoftBreak | Event::HardBreak | Event::Rule => plain.push('\n'),
            Event::Start(Tag::Item) => plain.push_str("- "),
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => addresses.push((plain.len(), dest_url)),
            Event::End(TagEnd::Link | TagEnd::Image) => end_link(&mut plain, addresses.pop()),
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::CodeBlock | TagEnd::Item) if !plain.ends_with('\n') => {
                plain.push('\n');
            }
            _ => {}
        }
    }
    plain.trim().to_owned()
}

/// An address that is its own text is said once.
fn end_link<T: AsRef<str>>(plain: &mut String, link: Option<(usize, T)>) {
    let Some((start, address)) = link else { return };
    let address = address.as_ref();
    if plain.get(start..) != Some(address) && !address.is_empty() {
        plain.push_str(&format!(" ({address})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_stay_and_the_marks_go() {
        let text = "# Disk\n\nHow **much** `room` there\nis; see [the guide](https://example.com/a) or <https://example.com>.\n\n- one\n- two\n\n<b>no</b>";
        let expected =
            "Disk\nHow much room there\nis; see the guide (https://example.com/a) or https://example.com.\n- one\n- two\nno";
        assert_eq!(plain(text), expected);
        assert_eq!(plain("a_b 2 * 3 <script>"), "a_b 2 * 3");
        assert_eq!(plain(""), "");
    }
}
