//! `pipsqueak env docker-args`: the arguments that give an environment to a container.

use pipsqueak::wire::Export;

use crate::cli::failure::Failure;

/// The arguments of `docker run` and `podman run`, as words that a shell splits again:
/// `docker run $(pipsqueak env docker-args NAME) IMAGE …`.
///
/// Not `--volume`: with it the engine would make an absent source, and the container would find nothing
/// there.
pub fn line(export: &Export) -> Result<String, Failure> {
    let source = export.source.to_string_lossy();
    // Blanks and patterns mean something to a shell, commas and quotes to the engines.
    if source.contains(|c: char| !c.is_alphanumeric() && !"/._-+@:".contains(c)) {
        return Err(Failure::Input(format!(
            "{source}: arguments that a shell splits cannot name this folder; start the supervisor \
             with another --run"
        )));
    }
    let mut words = vec![format!(
        "--mount type=bind,source={source},target={},readonly,bind-propagation=rslave",
        export.target.display()
    )];
    words.extend(export.variables.iter().map(|(key, value)| format!("--env {key}={value}")));
    Ok(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(source: &str) -> Export {
        Export {
            source: source.into(),
            target: "/pipsqueak".into(),
            variables: [("PYTHONPATH".to_owned(), "/pipsqueak/env/site".to_owned())].into(),
        }
    }

    #[test]
    fn the_words_are_those_of_both_engines() {
        assert_eq!(
            line(&export("/run/pipsqueak/exports/ab")).unwrap(),
            "--mount type=bind,source=/run/pipsqueak/exports/ab,target=/pipsqueak,readonly,\
             bind-propagation=rslave --env PYTHONPATH=/pipsqueak/env/site"
        );
    }

    #[test]
    fn what_a_shell_would_split_is_refused() {
        for source in ["/run/a b/exports", "/run/a,b", "/run/*", "/run/\"a", "/run/$HOME"] {
            assert!(line(&export(source)).is_err(), "{source}");
        }
    }
}
