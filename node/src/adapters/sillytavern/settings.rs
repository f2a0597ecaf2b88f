//! `settings.json` taken apart: settings of the person, settings of the
//! device, personas.

use serde_json::{Map, Value, json};

use super::super::name;

/// One record of the settings file.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    pub(super) domain: &'static str,
    pub(super) key: String,
    pub(super) value: Value,
}

/// Top-level settings that say something about one device: what it talks to,
/// what it shows just now, how its screen is laid out.
const OF_THE_DEVICE: &[&str] = &[
    "accountStorage",
    "active_character",
    "active_group",
    "api_server",
    "api_server_textgenerationwebui",
    "api_use_mancer_webui",
    "background",
    "currentVersion",
    "firstRun",
    "main_api",
    "proxies",
    "selected_proxy",
];

/// Fields of the same kind inside settings that otherwise belong to the person.
const OF_THE_DEVICE_INSIDE: &[(&str, &[&str])] = &[
    ("extension_settings", &["apiUrl", "autoConnect", "connectionManager"]),
    ("oai_settings", &["api_url_scale", "chat_completion_source", "custom_url", "reverse_proxy"]),
    ("power_user", &["chat_width", "font_scale", "movingUI", "movingUIPreset", "movingUIState"]),
    ("textgenerationwebui_settings", &["server_urls", "type"]),
];

/// Takes the settings apart: one record for each top-level setting and for
/// each persona.
///
/// Settings of the device get the key `device/name` or `device/name/field`, so
/// that no device ever writes another one's. Personas leave the settings
/// altogether: were they in both places, a new persona would also be an edit
/// of `power_user` and fight with every other edit of it.
pub(super) fn split(mut settings: Map<String, Value>, device: &str) -> Vec<Part> {
    let mut parts = personas(&mut settings);
    for (name, mut value) in settings {
        let inside =
            OF_THE_DEVICE_INSIDE.iter().find(|(outer, _)| *outer == name).map_or(&[][..], |(_, names)| names);
        let key = name::part(&name, &[]);
        if let Some(fields) = value.as_object_mut() {
            for field in inside {
                if let Some(value) = fields.shift_remove(*field) {
                    parts.push(Part {
                        domain: "device-settings",
                        key: format!("{device}/{key}/{field}"),
                        value,
                    });
                }
            }
        }
        parts.push(if OF_THE_DEVICE.contains(&name.as_str()) {
            Part { domain: "device-settings", key: format!("{device}/{key}"), value }
        } else {
            Part { domain: "settings", key, value }
        });
    }
    parts
}

/// Takes the personas out of the settings.
///
/// A persona's key is its picture's file name, as in the application. The
/// picture in use counts as a persona even when it has no entry, with the
/// user's name and the description in use: a folder that never saw the persona
/// page has one persona, not none.
fn personas(settings: &mut Map<String, Value>) -> Vec<Part> {
    let user = text(settings.get("username"));
    let in_use = text(settings.get("user_avatar")).filter(|avatar| !avatar.is_empty());
    let Some(power_user) = settings.get_mut("power_user").and_then(Value::as_object_mut) else {
        return Vec::new();
    };
    let mut names = take_object(power_user, "personas");
    let mut descriptions = take_object(power_user, "persona_descriptions");
    if let (Some(avatar), Some(user)) = (in_use, user)
        && !names.contains_key(&avatar)
    {
        let description = power_user.get("persona_description").cloned().unwrap_or_default();
        let position = power_user.get("persona_description_position").cloned().unwrap_or_default();
        if !descriptions.contains_key(&avatar) {
            descriptions.insert(avatar.clone(), json!({"description": description, "position": position}));
        }
        names.insert(avatar, Value::String(user));
    }
    let mut parts = Vec::new();
    for (avatar, name) in names {
        let mut value = Map::new();
        value.insert("name".into(), name);
        value.insert("avatar".into(), Value::String(avatar.clone()));
        match descriptions.shift_remove(&avatar) {
            Some(Value::Object(fields)) => {
                for (field, content) in fields {
                    value.entry(field).or_insert(content);
                }
            }
            Some(other) => {
                value.insert("description".into(), other);
            }
            None => {}
        }
        parts.push(Part { domain: "personas", key: name::part(&avatar, &[]), value: Value::Object(value) });
    }
    // A description without a persona stays where it was.
    if !descriptions.is_empty() {
        power_user.insert("persona_descriptions".into(), Value::Object(descriptions));
    }
    parts
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

/// Takes the object called `name` out of `fields`; anything else stays.
fn take_object(fields: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    if !fields.get(name).is_some_and(Value::is_object) {
        return Map::new();
    }
    match fields.shift_remove(name) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(settings: Value) -> Vec<(String, Value)> {
        let Value::Object(settings) = settings else { panic!("an object") };
        split(settings, "7QXK-2M4P")
            .into_iter()
            .map(|part| (format!("{}:{}", part.domain, part.key), part.value))
            .collect()
    }

    #[test]
    fn each_top_level_setting_is_a_record() {
        let parts = parts(json!({"swipes": true, "tags": [], "oai_settings": {"temp": 1}}));
        let expected = [
            ("settings:swipes".into(), json!(true)),
            ("settings:tags".into(), json!([])),
            ("settings:oai_settings".into(), json!({"temp": 1})),
        ];
        assert_eq!(parts, expected);
    }

    /// F19: what belongs to one device is under that device's name.
    #[test]
    fn what_belongs_to_one_device_is_under_its_name() {
        let parts = parts(json!({
            "main_api": "openai", "background": {"name": "x"},
            "power_user": {"theme": "Dark", "movingUIState": {"left": 5}, "chat_width": 50},
        }));
        let expected = [
            ("device-settings:7QXK-2M4P/main_api".into(), json!("openai")),
            ("device-settings:7QXK-2M4P/background".into(), json!({"name": "x"})),
            ("device-settings:7QXK-2M4P/power_user/chat_width".into(), json!(50)),
            ("device-settings:7QXK-2M4P/power_user/movingUIState".into(), json!({"left": 5})),
            ("settings:power_user".into(), json!({"theme": "Dark"})),
        ];
        assert_eq!(parts, expected);
    }

    /// P19: personas are records of their own.
    #[test]
    fn personas_leave_the_settings() {
        let parts = parts(json!({"power_user": {
            "personas": {"1.png": "Ada", "2.png": "Bo"},
            "persona_descriptions": {"1.png": {"description": "tall", "position": 0, "name": "no"},
                "3.png": {"description": "left"}},
        }}));
        let expected = [
            (
                "personas:1.png".into(),
                json!({"name": "Ada", "avatar": "1.png", "description": "tall", "position": 0}),
            ),
            ("personas:2.png".into(), json!({"name": "Bo", "avatar": "2.png"})),
            (
                "settings:power_user".into(),
                json!({"persona_descriptions": {"3.png": {"description": "left"}}}),
            ),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn the_picture_in_use_is_a_persona_even_without_an_entry() {
        let parts = parts(json!({
            "username": "User", "user_avatar": "user-default.png",
            "power_user": {"personas": {}, "persona_description": "calm", "persona_description_position": 1},
        }));
        let persona =
            json!({"name": "User", "avatar": "user-default.png", "description": "calm", "position": 1});
        assert_eq!(parts[0], ("personas:user-default.png".into(), persona));
    }

    #[test]
    fn settings_of_unexpected_shapes_are_kept_as_they_are() {
        let parts = parts(json!({"power_user": [1], "background": null, "": 1}));
        assert_eq!(parts[0], ("settings:power_user".into(), json!([1])));
        assert_eq!(parts.len(), 3);
    }
}
