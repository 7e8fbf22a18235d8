//! Names that a module defines at its top level.

use super::tokens::{Token, Tokens};

/// A definition of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definition<'a> {
    /// A function with at least one parameter.
    Function(&'a str),
    /// A name that is assigned to.
    Assigned(&'a str),
}

/// Functions defined, and names assigned to, at a module's top level, outside of any block.
pub fn definitions(text: &str) -> Vec<Definition<'_>> {
    let mut tokens = Tokens::of(text).peekable();
    let mut found = Vec::new();
    let mut begins = true;
    while let Some(token) = tokens.next() {
        let began = std::mem::replace(&mut begins, false);
        match token {
            Token::Line(indent) => begins = indent == 0,
            // A `def` may follow `async`.
            Token::Name("async") if began => begins = true,
            Token::Name("def") if began => {
                let Some(Token::Name(name)) = tokens.next() else { continue };
                let is_open = tokens.next_if_eq(&Token::Sign('(')).is_some();
                if is_open && tokens.peek() != Some(&Token::Sign(')')) {
                    found.push(Definition::Function(name));
                }
            }
            Token::Name(name) if began => {
                if tokens.next_if_eq(&Token::Sign(':')).is_some() {
                    // An annotation, unless it is `else:` or the like.
                    while tokens
                        .next_if(|token| !matches!(token, Token::Line(_) | Token::Sign('=')))
                        .is_some()
                    {}
                }
                let mut last = Some(name);
                // `a = b = …`, but not `a == …`.
                while let Some(name) = last.take()
                    && tokens.next_if_eq(&Token::Sign('=')).is_some()
                    && tokens.peek() != Some(&Token::Sign('='))
                {
                    found.push(Definition::Assigned(name));
                    last =
                        tokens.next_if(|token| matches!(token, Token::Name(_))).and_then(|token| {
                            if let Token::Name(name) = token { Some(name) } else { None }
                        });
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_at_the_top_level_is_found() {
        let text = "'''\ndef no(x): ...\n'''\nimport os\nx == 1\nasync def a(event): ...\n\
                    @deco(\n  x=1\n)\ndef b (\n    event,\n): return 1\ndef none(): ...\n\
                    c = d = Flask(__name__)\ne: FastAPI = FastAPI()\nf: int\n\
                    if x:\n    g = 1\nelse:\n    def h(x): ...\ni.j = k[1] = 2\n\
                    class K:\n    def l(self): ...\nm += 1\nn = 'def o(x): ...'; p = 1\n";
        let expected = [
            Definition::Function("a"),
            Definition::Function("b"),
            Definition::Assigned("c"),
            Definition::Assigned("d"),
            Definition::Assigned("e"),
            Definition::Assigned("n"),
        ];
        assert_eq!(definitions(text), expected);
        assert_eq!(definitions("def "), []);
        assert_eq!(definitions("a ="), [Definition::Assigned("a")]);
    }
}
