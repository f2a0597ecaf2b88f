//! What a new declaration would let records do that they may not do now.
//!
//! Whoever declared a domain narrow meant it; another device must not undo
//! that without a person of this one saying yes.

use kinsync_protocol::declaration::{Declaration, Scope};

/// What `next` would allow that `current` does not, a phrase each; `None`
/// means that nobody declares the domain any more.
pub fn widens(current: &Declaration, next: Option<&Declaration>) -> Vec<String> {
    let mut phrases = Vec::new();
    let next_scope = next.map_or(Scope::User, |next| next.scope);
    if reach(next_scope) > reach(current.scope) {
        phrases.push(match current.scope {
            Scope::Device => "records of one device could be written by all".to_owned(),
            Scope::User | Scope::Tenant | _ => {
                "records that stay here would go to your other devices".to_owned()
            }
        });
    }
    if current.opt_in && !next.is_some_and(|next| next.opt_in) {
        phrases.push("records would go to devices that nobody named".to_owned());
    }
    let excludes_less = match next {
        None => !current.exclude.is_empty(),
        // Each further condition lets more records through.
        Some(next) => {
            !current.exclude.is_empty()
                && (next.exclude.is_empty()
                    || next.exclude.iter().any(|(field, value)| current.exclude.get(field) != Some(value)))
        }
    };
    if excludes_less {
        phrases.push("records that stay on their device would go to the others".to_owned());
    }
    phrases
}

/// How far records of a scope go.
fn reach(scope: Scope) -> u8 {
    match scope {
        Scope::Tenant => 0,
        Scope::Device => 1,
        Scope::User | _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::file::parse;

    fn of(rest: &str) -> Declaration {
        parse(&format!("name = \"notes\"\n{rest}")).expect("a declaration")
    }

    /// F7, F20: what would cross a boundary is told, what draws one closer is not.
    #[test]
    fn what_goes_further_is_named() {
        let plain = of("");
        for (narrow, wide) in [
            ("scope = \"device\"", ""),
            ("scope = \"tenant\"", "scope = \"device\""),
            ("opt-in = true", "schema = 2"),
            ("exclude = { builtin = true }", ""),
            ("exclude = { builtin = true }", "exclude = { builtin = true, locked = true }"),
            ("exclude = { builtin = true }", "exclude = { builtin = false }"),
        ] {
            let (narrow, wide) = (of(narrow), of(wide));
            assert_eq!(widens(&narrow, Some(&wide)).len(), 1, "{narrow:?} to {wide:?}");
            assert_eq!(widens(&narrow, None).len(), 1, "{narrow:?}");
        }
        for closer in
            ["scope = \"device\"", "opt-in = true", "exclude = { a = 1 }", "policy = \"manual\"", ""]
        {
            assert!(widens(&plain, Some(&of(closer))).is_empty(), "{closer}");
        }
        let (two, one) = (of("exclude = { a = 1, b = 2 }"), of("exclude = { a = 1 }"));
        assert!(widens(&two, Some(&one)).is_empty());
        assert!(widens(&plain, None).is_empty());
    }
}
