//! What a terminal is shown: texts that it displays, and none that it carries out.

/// A text that a terminal shows and does not carry out, on one line: control characters, and those that
/// change what is read around them, are written as escapes.
pub fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        if is_invisible(character) {
            harmless.extend(character.escape_default());
        } else {
            harmless.push(character);
        }
    }
    harmless
}

/// True for characters that end lines, direct terminals, or change what is read around them: control
/// characters, marks of direction, separators, and what has no width.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(character, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}
