//! Credentials in addresses: kept out of whatever is stored, logged or told.

/// Text in the place of credentials that were there.
const HIDDEN: &str = "****";

/// The text without the credentials of the addresses in it.
pub fn hide(text: &str) -> String {
    replace(text, HIDDEN)
}

/// The passwords and tokens in the addresses of a text.
pub fn secrets(text: &str) -> Vec<String> {
    let users = users(text).map(|(start, end)| &text[start..end]);
    let secrets = users.map(|user| user.split_once(':').map_or(user, |(_, password)| password));
    secrets.filter(|secret| !secret.is_empty()).map(ToOwned::to_owned).collect()
}

/// The text without the credentials of its addresses, and without `secrets` wherever they are.
pub fn hide_all(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(hide(text), |text, secret| text.replace(secret, HIDDEN))
}

/// The text with addresses that have no credentials.
pub fn remove(text: &str) -> String {
    replace(text, "").replace("://@", "://")
}

fn replace(text: &str, with: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end) in users(text) {
        clean.push_str(&text[done..start]);
        clean.push_str(with);
        done = end;
    }
    clean + &text[done..]
}

/// Ranges of what stands between `://` and `@` in addresses.
fn users(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.match_indices("://").filter_map(|(scheme, mark)| {
        let start = scheme + mark.len();
        let rest = &text[start..];
        // Any other character may be in a password that somebody has not encoded.
        let length = rest.find(['/', ' ', '\t', '\n', '"', '\'', '`', '>']).unwrap_or(rest.len());
        rest[..length].rfind('@').map(|at| (start, start + at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_hidden_and_removed() {
        let text = "--index-url https://me:se@cret@host/simple and http://token@other, a@b ://x";
        assert_eq!(
            hide(text),
            "--index-url https://****@host/simple and http://****@other, a@b ://x"
        );
        assert_eq!(remove(text), "--index-url https://host/simple and http://other, a@b ://x");
        let secrets = secrets("https://me:hunter2@a https://token@b https://c");
        assert_eq!(secrets, ["hunter2", "token"]);
        assert_eq!(hide_all("hunter2 at http://x:y@z", &secrets), "**** at http://****@z");
        for clean in ["https://host/a@b", "x @ https://host/x.whl", "ssh://git@host/x", "://", ""] {
            assert_eq!(remove(clean), clean.replace("git@", ""), "{clean}");
        }
        assert_eq!(hide("https://host/a@b é"), "https://host/a@b é");
    }
}
