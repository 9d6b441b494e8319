//! What one exchange or connection remembers from hook to hook: typed values under names, with limits.
//! Must cost nothing while it is empty, and must never let one plugin see another's private values.

/// At most so many values in one context.
const MAX_VALUES: usize = 64;
/// At most so many bytes of names and values in one context.
const MAX_BYTES: usize = 64 << 10;
/// One plugin has at most this part of either.
const SHARE: usize = 2;
/// Names that begin so belong to the plugin that set them.
const PRIVATE: &str = "private:";

/// One typed value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names say it; the contract is wit/context.wit")]
pub enum Value {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    fn size(&self) -> usize {
        match self {
            Value::Boolean(_) => 1,
            Value::Integer(_) | Value::Float(_) => 8,
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A value did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextFull {
    /// More than 64 values, or more than 64 KiB of names and values.
    #[error("the context is full: at most {MAX_VALUES} values and {MAX_BYTES} bytes")]
    Context,
    /// More than half of that by one plugin.
    #[error("the plugin's share of the context is full: at most one in {SHARE} of its values and bytes")]
    Share,
}

/// A plugin, and what stands for it whatever becomes of its slot.
#[derive(Clone, Copy)]
pub struct Setter<'a> {
    /// Its name in the config.
    pub name: &'a str,
    /// Not 0, which is the host.
    pub id: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Box<str>,
    /// The plugin that alone may see a `private:` value.
    owner: Option<Box<str>>,
    /// The plugin that first set it; 0 for the host.
    by: u64,
    value: Value,
}

impl Entry {
    fn size(&self) -> usize {
        self.name.len() + self.value.size()
    }
}

/// The values of one exchange or connection, in the order in which they were first set.
#[derive(Clone, Debug, Default)]
pub struct Context {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Context {
    /// An empty context; allocates nothing.
    pub const fn new() -> Self {
        Context { entries: Vec::new(), bytes: 0 }
    }

    /// The public value under `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.position(name, None).map(|at| &self.entries[at].value)
    }

    /// Sets or replaces the public value under `name`.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), ContextFull> {
        self.put(name, None, 0, value)
    }

    /// Removes the public value under `name`.
    pub fn remove(&mut self, name: &str) {
        self.delete(name, None);
    }

    /// The public values, in the order in which they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().filter(|entry| entry.owner.is_none()).map(|entry| (&*entry.name, &entry.value))
    }

    /// Every value, private ones too.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|entry| (&*entry.name, &entry.value))
    }

    /// The value under `name` as this plugin sees it.
    pub fn get_as(&self, plugin: &str, name: &str) -> Option<&Value> {
        self.position(name, owner_of(plugin, name)).map(|at| &self.entries[at].value)
    }

    /// Sets or replaces a value as this plugin.
    pub fn set_as(&mut self, plugin: Setter<'_>, name: &str, value: Value) -> Result<(), ContextFull> {
        self.put(name, owner_of(plugin.name, name), plugin.id, value)
    }

    /// Removes a value as this plugin.
    pub fn remove_as(&mut self, plugin: &str, name: &str) {
        self.delete(name, owner_of(plugin, name));
    }

    fn position(&self, name: &str, owner: Option<&str>) -> Option<usize> {
        self.entries.iter().position(|entry| &*entry.name == name && entry.owner.as_deref() == owner)
    }

    fn put(&mut self, name: &str, owner: Option<&str>, by: u64, value: Value) -> Result<(), ContextFull> {
        let at = self.position(name, owner);
        let (before, by) = at.map_or((0, by), |at| (self.entries[at].size(), self.entries[at].by));
        let more = name.len() + value.size();
        let bytes = self.bytes - before + more;
        if bytes > MAX_BYTES || (at.is_none() && self.entries.len() == MAX_VALUES) {
            return Err(ContextFull::Context);
        }
        // Few have as much as would be worth counting.
        if by != 0 && (bytes > MAX_BYTES / SHARE || self.entries.len() >= MAX_VALUES / SHARE) {
            let own = || self.entries.iter().filter(|entry| entry.by == by);
            let full = at.is_none() && own().count() >= MAX_VALUES / SHARE;
            if full || own().map(Entry::size).sum::<usize>() - before + more > MAX_BYTES / SHARE {
                return Err(ContextFull::Share);
            }
        }
        self.bytes = bytes;
        match at {
            Some(at) => self.entries[at].value = value,
            None => self.entries.push(Entry { name: name.into(), owner: owner.map(Into::into), by, value }),
        }
        Ok(())
    }

    fn delete(&mut self, name: &str, owner: Option<&str>) {
        if let Some(at) = self.position(name, owner) {
            let entry = self.entries.remove(at);
            self.bytes -= entry.name.len() + entry.value.size();
        }
    }
}

fn owner_of<'a>(plugin: &'a str, name: &str) -> Option<&'a str> {
    name.starts_with(PRIVATE).then_some(plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Setter<'_> = Setter { name: "one", id: 1 };
    const TWO: Setter<'_> = Setter { name: "two", id: 2 };

    #[test]
    fn no_plugin_uses_up_what_others_need() {
        let mut context = Context::new();
        for n in 0..MAX_VALUES / SHARE {
            context.set_as(ONE, &n.to_string(), Value::Boolean(true)).unwrap();
        }
        assert_eq!(context.set_as(ONE, "one more", Value::Boolean(true)), Err(ContextFull::Share));
        context.set_as(ONE, "0", Value::Boolean(false)).unwrap();
        let half = Value::Bytes(vec![0; MAX_BYTES / SHARE - 3]);
        assert_eq!(context.set_as(TWO, "half", half), Err(ContextFull::Share));
        context.set_as(TWO, "half", Value::Bytes(vec![0; MAX_BYTES / SHARE - 4])).unwrap();
        assert_eq!(context.set_as(TWO, "more", Value::Boolean(true)), Err(ContextFull::Share));
        // Whoever changes a value that another has set, it is the other's.
        context.set_as(TWO, "0", Value::Boolean(true)).unwrap();
        context.remove_as("two", "half");
        context.set_as(TWO, "more", Value::Boolean(true)).unwrap();
    }

    #[test]
    fn values_are_set_replaced_and_removed() {
        let mut context = Context::new();
        context.set("a", Value::Integer(1)).unwrap();
        context.set("a", Value::Text("two".into())).unwrap();
        assert_eq!(context.get_as("any", "a"), Some(&Value::Text("two".into())));
        context.remove_as("any", "a");
        assert_eq!(context.get("a"), None);
        assert_eq!(context.bytes, 0);
    }

    #[test]
    fn private_values_belong_to_one_plugin() {
        let mut context = Context::new();
        context.set_as(ONE, "private:x", Value::Boolean(true)).unwrap();
        assert_eq!(context.get_as("one", "private:x"), Some(&Value::Boolean(true)));
        assert_eq!(context.get_as("two", "private:x"), None);
        assert_eq!(context.get("private:x"), None);
        assert_eq!(context.iter().count(), 0);
    }

    #[test]
    fn limits_hold() {
        let mut context = Context::new();
        assert_eq!(context.set("big", Value::Bytes(vec![0; MAX_BYTES])), Err(ContextFull::Context));
        for n in 0..MAX_VALUES {
            context.set(&n.to_string(), Value::Boolean(true)).unwrap();
        }
        assert_eq!(context.set("one more", Value::Boolean(true)), Err(ContextFull::Context));
        context.set("0", Value::Boolean(false)).unwrap();
    }
}
