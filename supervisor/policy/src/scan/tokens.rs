//! Python's tokens, as far as finding imports needs them: names, strings, and separators of statements.
//! Any text that is not Python gives some tokens, and ends.

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier or keyword.
    Name(&'a str),
    /// A string literal whose value is its text: without escapes and without a prefix but `u`.
    Text(&'a str),
    /// A string of another kind, or a number.
    Other,
    /// Any other character.
    Sign(char),
    /// The end of a statement's line, and the number of blanks at the begin of the next.
    Line(usize),
}

/// The tokens of a text.
pub(super) struct Tokens<'a> {
    text: &'a str,
    /// Number of open brackets: lines do not end inside them.
    open: usize,
}

impl<'a> Tokens<'a> {
    pub fn of(text: &'a str) -> Self {
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), open: 0 }
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let (skipped, rest) = self.text.split_at(bytes);
        self.text = rest;
        skipped
    }

    fn skip_while(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let end = self.text.find(|c| !matches(c)).unwrap_or(self.text.len());
        self.skip(end)
    }

    /// Reads a string, from its quote on.
    fn string(&mut self, prefix: &str) -> Token<'a> {
        let quote = self.text.chars().next().unwrap_or('"');
        let three = match quote {
            '"' => "\"\"\"",
            _ => "'''",
        };
        let is_long = self.text.starts_with(three);
        let quotes = if is_long { three } else { &three[..1] };
        self.skip(quotes.len());
        let body = self.text;
        let mut end = 0;
        let mut has_escapes = false;
        loop {
            let rest = &body[end..];
            let Some(next) = rest.chars().next() else {
                self.skip(end);
                return Token::Other;
            };
            if rest.starts_with(quotes) {
                break;
            }
            // A short string that does not end on its line is an error; the next line is not part of
            // it.
            if next == '\n' && !is_long {
                self.skip(end);
                return Token::Other;
            }
            end += next.len_utf8();
            if next == '\\' {
                has_escapes = true;
                end += body[end..].chars().next().map_or(0, char::len_utf8);
            }
        }
        self.skip(end + quotes.len());
        let is_plain = prefix.is_empty() || prefix.eq_ignore_ascii_case("u");
        if is_plain && !has_escapes { Token::Text(&body[..end]) } else { Token::Other }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let next = self.text.chars().next()?;
            match next {
                '\n' => {
                    self.skip(1);
                    if self.open == 0 {
                        let blanks = self.skip_while(|c| matches!(c, ' ' | '\t' | '\r' | '\u{c}'));
                        // Empty lines and comments have no indentation.
                        if !matches!(self.text.chars().next(), Some('\n' | '#')) {
                            return Some(Token::Line(blanks.len()));
                        }
                    }
                }
                '#' => {
                    self.skip_while(|c| c != '\n');
                }
                '\\' => {
                    self.skip(1);
                    let end = self.text.strip_prefix('\r').unwrap_or(self.text);
                    if end.starts_with('\n') {
                        self.skip(self.text.len() - end.len() + 1);
                    }
                }
                '"' | '\'' => return Some(self.string("")),
                c if c.is_whitespace() => {
                    self.skip_while(|c| c != '\n' && c.is_whitespace());
                }
                c if c.is_alphabetic() || c == '_' => {
                    let name = self.skip_while(|c| c.is_alphanumeric() || c == '_');
                    let quoted = self.text.starts_with(['"', '\'']);
                    return Some(if quoted && name.len() <= 2 {
                        self.string(name)
                    } else {
                        Token::Name(name)
                    });
                }
                c if c.is_numeric() => {
                    self.skip_while(|c| c.is_alphanumeric() || c == '_');
                    return Some(Token::Other);
                }
                c => {
                    self.skip(c.len_utf8());
                    match c {
                        '(' | '[' | '{' => self.open += 1,
                        ')' | ']' | '}' => self.open = self.open.saturating_sub(1),
                        _ => {}
                    }
                    return Some(Token::Sign(c));
                }
            }
        }
    }
}
