//! A commented example of a configuration, made of what the readers know about each key.

use super::{
    SECTIONS,
    document::{Key, SectionKeys, Shape},
};

/// A complete file with every key explained. It parses as it is; keys that may be left out are
/// commented out and show their defaults or an example.
pub fn example() -> String {
    let mut text = String::from(HEAD);
    for section in SECTIONS {
        text.push('\n');
        comment(&mut text, section.doc);
        text.push_str(&heading(section));
        for key in section.keys {
            show(&mut text, key);
        }
        text.push_str(section.more);
    }
    text
}

fn heading(section: &SectionKeys) -> String {
    let name = section.name;
    match section.repeats {
        true => format!("[[{name}]]\n"),
        false => format!("[{name}]\n"),
    }
}

fn show(text: &mut String, key: &Key) {
    comment(text, key.doc);
    let name = key.name;
    match key.value {
        Shape::Number { default, range } => {
            let (least, most) = range;
            comment(text, &format!("Default {default}; {least} to {most}."));
            text.push_str(&format!("# {name} = {default}\n"));
        }
        Shape::Optional(value) => text.push_str(&format!("# {name} = {value}\n")),
        Shape::Shown(value) => text.push_str(&format!("{name} = {value}\n")),
    }
}

fn comment(text: &mut String, doc: &str) {
    for line in doc.lines() {
        text.push_str("## ");
        text.push_str(line);
        text.push('\n');
    }
}

const HEAD: &str = "\
## A Causeway node. Check it with `causeway config check FILE`, run it with
## `causeway node --config FILE`. Lines with one # are keys that may be left out.
";
