//! JSON that people read and edit: containers that fit on a line stay on one, larger ones open up.

use serde_json::Value;

/// The longest line that a container may take.
const WIDTH: usize = 110;

/// A value as indented text, with small containers on one line each.
#[must_use]
pub fn lines(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text.push('\n');
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let flat = value.to_string();
    let items: Vec<(Option<&String>, &Value)> = match value {
        Value::Array(items) => items.iter().map(|item| (None, item)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, item)| (Some(name), item)).collect(),
        _ => return text.push_str(&flat),
    };
    if flat.len() + 2 * depth <= WIDTH {
        return text.push_str(&flat);
    }
    let (open, close) = if value.is_array() { ('[', ']') } else { ('{', '}') };
    text.push(open);
    for (i, (name, item)) in items.iter().enumerate() {
        text.push_str(if i == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        if let Some(name) = name {
            text.push_str(&Value::String((*name).clone()).to_string());
            text.push_str(": ");
        }
        write(item, depth + 1, text);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_equal_and_small_things_stay_on_a_line() {
        let value = serde_json::json!({"a": [1, 2, 3], "b": {"c": "x".repeat(100), "d": [{"e": null}]}});
        let text = lines(&value);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        assert!(text.contains("\n  \"a\": [1,2,3],\n"), "{text}");
    }
}
