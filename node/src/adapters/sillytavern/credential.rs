//! Fields that hold a provider's credentials, found by their names.

use serde_json::Value;

/// Removes every field that looks like a credential, at any depth, and says
/// how many were removed.
///
/// A key of a provider must never leave the device, while a setting left out
/// by mistake costs a click: when in doubt, out it goes. An empty field goes
/// too; it would empty the other device's field. Switches stay
/// (`"ban_eos_token": true`), they hold nothing.
pub(super) fn remove(value: &mut Value) -> u64 {
    match value {
        Value::Object(fields) => {
            let before = fields.len();
            fields.retain(|name, value| !is_credential(name, value));
            let removed = (before - fields.len()) as u64;
            removed + fields.values_mut().map(remove).sum::<u64>()
        }
        Value::Array(items) => {
            let before = items.len();
            items.retain(|item| !item.as_str().is_some_and(has_password_in_address));
            let removed = (before - items.len()) as u64;
            removed + items.iter_mut().map(remove).sum::<u64>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn is_credential(name: &str, value: &Value) -> bool {
    if value.is_boolean() {
        return false;
    }
    let words = words(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let last = words.last().map(String::as_str);
    let before = words.len().checked_sub(2).and_then(|place| words.get(place)).map_or("", String::as_str);

    // Headers that the user added for a provider, as a rule `Authorization: …`.
    if has(OPEN_WORDS) || last == Some("headers") || has_pair(&words, "api", "key") {
        return true;
    }
    match last {
        Some("key" | "keys") => KEYS_TO_SOMETHING.contains(&before),
        // `max_tokens` and its like are numbers, texts like `</s>` are the model's.
        Some("token") => !value.is_number() && !TOKENS_OF_A_MODEL.contains(&before),
        _ => value.as_str().is_some_and(has_password_in_address),
    }
}

/// Words that name a credential wherever they stand.
const OPEN_WORDS: &[&str] = &[
    "apikey",
    "apikeys",
    "authorization",
    "bearer",
    "credential",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "secret",
    "secrets",
];

/// What makes a `key` a credential; a `key` alone is a keyword or a name.
const KEYS_TO_SOMETHING: &[&str] = &[
    "access",
    "account",
    "app",
    "auth",
    "client",
    "encryption",
    "license",
    "private",
    "signing",
    "subscription",
];

/// What makes a `token` a piece of text that a model knows.
const TOKENS_OF_A_MODEL: &[&str] = &[
    "begin", "bos", "cls", "end", "eos", "first", "last", "mask", "pad", "sep", "special", "start", "stop",
    "unk",
];

fn has_pair(words: &[String], first: &str, second: &str) -> bool {
    words.iter().zip(words.iter().skip(1)).any(|(a, b)| a == first && b == second)
}

/// `http://user:password@host/`.
fn has_password_in_address(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// The words of a name, whichever way it joins them: `proxy_password`,
/// `apiKey`, `API-Key`, `openAIKey`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let letters: Vec<char> = name.chars().collect();
    for (place, letter) in letters.iter().enumerate() {
        if !letter.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let was_lower =
            place.checked_sub(1).and_then(|place| letters.get(place)).is_some_and(|c| c.is_lowercase());
        let was_upper =
            place.checked_sub(1).and_then(|place| letters.get(place)).is_some_and(|c| c.is_uppercase());
        let then_lower = letters.get(place + 1).is_some_and(|c| c.is_lowercase());
        if letter.is_uppercase() && (was_lower || was_upper && then_lower) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_go_at_any_depth_and_are_counted() {
        let mut settings = json!({
            "api_key_openai": "sk-1", "apiKey": "", "proxy_password": "p", "token": "t", "hordeToken": "h",
            "API_KEY": "x", "client_secret": 5, "custom_include_headers": "Authorization: Bearer x",
            "accessKey": "a", "reverse_proxy": "https://me:word@example.org/v1",
            "proxies": [{"name": "mine", "url": "http://localhost", "password": "p"}],
            "urls": ["http://a:b@host", "http://host"],
        });
        assert_eq!(remove(&mut settings), 12);
        let kept = json!({"proxies": [{"name": "mine", "url": "http://localhost"}], "urls": ["http://host"]});
        assert_eq!(settings, kept);
    }

    #[test]
    fn what_only_sounds_like_a_credential_stays() {
        let settings = json!({
            "openai_max_tokens": 300, "banned_tokens": "", "token_padding": 64, "tokenizer": 99,
            "ban_eos_token": true, "bos_token": "<s>", "max_token": 5, "key": ["forest"], "hotkeys": {},
            "show_password": true, "url": "http://127.0.0.1:5000/api?to=a:b@c", "keyboard": "x",
        });
        let mut kept = settings.clone();
        assert_eq!(remove(&mut kept), 0);
        assert_eq!(kept, settings);
    }

    #[test]
    fn names_come_apart_into_words() {
        assert_eq!(words("openAIKey_v2"), ["open", "ai", "key", "v2"]);
        assert_eq!(words("API-Key"), ["api", "key"]);
        assert_eq!(words(""), Vec::<String>::new());
    }
}
