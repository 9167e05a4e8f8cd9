//! What `docs/json.md` shows of a command's `--json`, against what it prints.

use serde_json::{Map, Value};

/// Asserts that an answer has nothing that the page does not show under the command's heading, each part of the type shown.
///
/// On the page a name in capitals stands for any name (`"IMAGE": …`), and `null` for a value that may be anything.
pub fn is_documented(command: &str, answer: &Value) {
    let page = include_str!("../../docs/json.md");
    let (_, section) = page.split_once(&format!("\n## `{command}`\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
    let shown: Vec<Value> = blocks.map(|block| serde_json::from_str(block).unwrap()).collect();
    assert_eq!(answer["version"], shown[0]["version"]);
    fits(&shown.iter().collect::<Vec<_>>(), answer, command);
}

fn fits(shown: &[&Value], answer: &Value, place: &str) {
    if answer.is_null() || shown.iter().any(|shown| shown.is_null()) {
        return;
    }
    let objects: Vec<&Map<String, Value>> = shown.iter().filter_map(|shown| shown.as_object()).collect();
    let arrays: Vec<&Vec<Value>> = shown.iter().filter_map(|shown| shown.as_array()).collect();
    let has = |is: fn(&Value) -> bool| shown.iter().any(|shown| is(shown));
    match answer {
        Value::Object(answer) => {
            for (key, value) in answer {
                let any = |shown: &&&Map<String, Value>| shown.keys().any(|key| key.to_uppercase() == *key);
                let by_name = objects.iter().filter_map(|shown| shown.get(key));
                let by_any = objects.iter().filter(any).flat_map(|shown| shown.values());
                let below: Vec<&Value> = by_name.chain(by_any).collect();
                assert!(!below.is_empty(), "{place}.{key} is not on the page: {value}");
                fits(&below, value, &format!("{place}.{key}"));
            }
        }
        Value::Array(answer) => {
            assert!(!arrays.is_empty(), "{place} is a list");
            let below: Vec<&Value> = arrays.into_iter().flatten().collect();
            for value in answer {
                fits(&below, value, &format!("{place}[]"));
            }
        }
        Value::String(_) => assert!(has(Value::is_string), "{place} is a string"),
        Value::Bool(_) => assert!(has(Value::is_boolean), "{place} is true or false"),
        Value::Number(_) => assert!(has(Value::is_number), "{place} is a number"),
        Value::Null => {}
    }
}
