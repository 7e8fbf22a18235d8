//! Import statements among tokens, and calls of `import_module` and `__import__` with a literal.

use std::iter::Peekable;

use super::tokens::{Token, Tokens};

/// One import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Import {
    /// Number of dots before the module; 0 if the import is absolute.
    pub level: usize,
    /// The module; may be empty if the import is relative.
    pub module: String,
    /// Names that are imported from the module, without `*`.
    pub names: Vec<String>,
}

/// All imports of a text at any depth, but for those under `if TYPE_CHECKING`.
pub fn imports(text: &str) -> Vec<Import> {
    let mut tokens = Tokens::of(text).peekable();
    let mut found = Vec::new();
    let mut open = 0_usize;
    let mut indent = 0;
    // Lines indented deeper than this belong to `if TYPE_CHECKING`, and do not run.
    let mut idle: Option<usize> = None;
    let mut begins = true;
    while let Some(token) = tokens.next() {
        let began = std::mem::replace(&mut begins, false);
        let is_idle = idle.is_some();
        match token {
            Token::Line(blanks) => {
                indent = blanks;
                idle = idle.filter(|outer| blanks > *outer);
                open = 0;
                begins = true;
            }
            Token::Sign('(' | '[' | '{') => open += 1,
            Token::Sign(')' | ']' | '}') => open = open.saturating_sub(1),
            // An annotation's or a lambda's colon counts too: no keyword that matters here can follow
            // it.
            Token::Sign(';' | ':') => begins = open == 0,
            Token::Name("if") if began && is_type_checking(&mut tokens) => {
                idle = idle.or(Some(indent));
            }
            Token::Name("import") if began => {
                let modules = modules(&mut tokens);
                found.extend(modules.into_iter().filter(|_| !is_idle));
            }
            Token::Name("from") if began => {
                found.extend(from(&mut tokens).filter(|_| !is_idle));
            }
            Token::Name("import_module" | "__import__") => {
                found.extend(literal(&mut tokens, &mut open).filter(|_| !is_idle));
            }
            _ => {}
        }
    }
    found
}

type Rest<'a> = Peekable<Tokens<'a>>;

/// True if a condition is `TYPE_CHECKING` and nothing else. The tokens it takes contain no import.
fn is_type_checking(tokens: &mut Rest<'_>) -> bool {
    if tokens.next_if(|token| matches!(token, Token::Name("typing" | "t"))).is_some() {
        tokens.next_if_eq(&Token::Sign('.'));
    }
    tokens.next_if_eq(&Token::Name("TYPE_CHECKING")).is_some()
        && tokens.peek() == Some(&Token::Sign(':'))
}

/// `a.b as c, d` after `import`.
fn modules(tokens: &mut Rest<'_>) -> Vec<Import> {
    let mut found = Vec::new();
    loop {
        let module = dotted(tokens);
        if module.is_empty() {
            return found;
        }
        found.push(Import { module, ..Import::default() });
        alias(tokens);
        if tokens.next_if_eq(&Token::Sign(',')).is_none() {
            return found;
        }
    }
}

/// `..a.b import (c as d, e)` after `from`.
fn from(tokens: &mut Rest<'_>) -> Option<Import> {
    let mut import = Import::default();
    while tokens.next_if_eq(&Token::Sign('.')).is_some() {
        import.level += 1;
    }
    if tokens.peek() != Some(&Token::Name("import")) {
        import.module = dotted(tokens);
    }
    tokens.next_if_eq(&Token::Name("import"))?;
    // The bracket is closed where the names end, so `open` need not count it.
    let is_open = tokens.next_if_eq(&Token::Sign('(')).is_some();
    while let Some(Token::Name(name)) = tokens.next_if(|token| matches!(token, Token::Name(_))) {
        import.names.push(name.to_owned());
        alias(tokens);
        if tokens.next_if_eq(&Token::Sign(',')).is_none() {
            break;
        }
    }
    if is_open {
        tokens.next_if_eq(&Token::Sign(')'));
    }
    (import.level > 0 || !import.module.is_empty()).then_some(import)
}

/// `("a.b"` after `import_module` or `__import__`.
fn literal(tokens: &mut Rest<'_>, open: &mut usize) -> Option<Import> {
    tokens.next_if_eq(&Token::Sign('('))?;
    *open += 1;
    let token = tokens.next_if(|token| matches!(token, Token::Text(_)))?;
    let Token::Text(module) = token else { return None };
    let is_name =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    module
        .split('.')
        .all(is_name)
        .then(|| Import { module: module.to_owned(), ..Import::default() })
}

fn dotted(tokens: &mut Rest<'_>) -> String {
    let mut module = String::new();
    while let Some(Token::Name(name)) = tokens.next_if(|token| matches!(token, Token::Name(_))) {
        module.push_str(name);
        if tokens.next_if_eq(&Token::Sign('.')).is_none() {
            return module;
        }
        module.push('.');
    }
    module.trim_end_matches('.').to_owned()
}

fn alias(tokens: &mut Rest<'_>) {
    if tokens.next_if_eq(&Token::Name("as")).is_some() {
        tokens.next_if(|token| matches!(token, Token::Name(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let tell = |one: Import| {
            let names = one.names.join(",");
            format!("{}{} {names}", ".".repeat(one.level), one.module).trim().to_owned()
        };
        imports(text).into_iter().map(tell).collect()
    }

    #[test]
    fn every_form_of_an_import_is_found() {
        let forms = [
            ("import a", vec!["a"]),
            ("import a.b as c, d , e.f", vec!["a.b", "d", "e.f"]),
            ("from a import b as c, d", vec!["a b,d"]),
            ("from a.b import (c, # d\n  e as f,\n)\nimport g", vec!["a.b c,e", "g"]),
            ("from . import a", vec![". a"]),
            ("from ...a.b import c", vec!["...a.b c"]),
            ("from a import *", vec!["a"]),
            ("from a \\\n  import b", vec!["a b"]),
            ("try: import a\nexcept ImportError: import b; import c", vec!["a", "b", "c"]),
            ("def f(x: int = 3):\n\timport a\n", vec!["a"]),
            ("x: int = 3; import a", vec!["a"]),
            ("importlib.import_module('a.b'); __import__(\"c\", {})", vec!["a.b", "c"]),
            ("import_module(f'a{b}'); import_module('.c', d); import_module(x)", vec![]),
            ("import a\r\nfrom b import c\r\n", vec!["a", "b c"]),
            ("if typing.TYPE_CHECKING:\n  import a\nelse:\n  import b", vec!["b"]),
            ("if TYPE_CHECKING: import a\nimport b", vec!["b"]),
            ("if TYPE_CHECKING or x:\n  import a", vec!["a"]),
            ("if True:\n  if TYPE_CHECKING:\n    import a\n  import b", vec!["b"]),
            ("\u{feff}import a", vec!["a"]),
            ("import é.ü", vec!["é.ü"]),
            ("x = '\nimport a", vec!["a"]),
        ];
        for (text, expected) in forms {
            assert_eq!(told(text), expected, "{text}");
        }
    }
}
