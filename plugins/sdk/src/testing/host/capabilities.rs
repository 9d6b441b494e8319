//! What a config grants: here all of it.

pub(crate) mod clock {
    use crate::testing::world::WORLD;

    pub(crate) fn now() -> u64 {
        WORLD.with_borrow(|world| world.now.as_nanos() as u64)
    }

    pub(crate) fn monotonic() -> u64 {
        WORLD.with_borrow(|world| world.monotonic.as_nanos() as u64)
    }
}

pub(crate) mod random {
    use crate::testing::world::WORLD;

    pub(crate) fn next() -> u64 {
        WORLD.with_borrow_mut(|world| world.next_random())
    }

    pub(crate) fn bytes(count: u32) -> Vec<u8> {
        assert!(count <= 64 << 10, "over 64 KiB of random bytes: the host traps");
        (0..count).map(|_| next() as u8).collect()
    }
}

pub(crate) mod log {
    use crate::Level;
    use crate::testing::world::{Line, WORLD};

    pub(crate) fn write(level: Level, message: &str) {
        WORLD.with_borrow_mut(|world| world.log.push(Line { level, message: message.to_owned() }));
    }
}

pub(crate) mod config {
    use crate::testing::host::active;

    pub(crate) fn get(path: &str) -> Option<String> {
        let config = active().config;
        let mut place = &config;
        for step in path.split('.').filter(|step| !step.is_empty()) {
            place = match place.as_array() {
                Some(list) => list.get(step.parse::<usize>().ok()?)?,
                None => place.get(step)?,
            };
        }
        Some(place.to_string())
    }
}

pub(crate) mod metrics {
    use crate::testing::host::active;
    use crate::testing::world::{Metric, WORLD};

    /// Handles hold a name alone: a `static` outlives the test thread that opened it.
    fn open(name: &str, fresh: Metric, change: impl FnOnce(&mut Metric) -> bool) {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(
            (1..=64).contains(&name.len()) && name.bytes().all(good),
            "{name:?} is no name of a metric: the host traps"
        );
        let plugin = active().id;
        WORLD.with_borrow_mut(|world| {
            let metric = world.metrics.entry((plugin, name.to_owned())).or_insert(fresh);
            assert!(change(metric), "{name:?} is a metric of another kind: the host traps");
        });
    }

    #[derive(Debug)]
    pub(crate) struct Counter(String);

    impl Counter {
        pub(crate) fn new(name: &str) -> Self {
            Self(name.to_owned())
        }

        pub(crate) fn add(&self, delta: u64) {
            open(&self.0, Metric::Counter(0), |metric| match metric {
                Metric::Counter(value) => {
                    *value = value.wrapping_add(delta);
                    true
                }
                _ => false,
            });
        }
    }

    #[derive(Debug)]
    pub(crate) struct Gauge(String);

    impl Gauge {
        pub(crate) fn new(name: &str) -> Self {
            Self(name.to_owned())
        }

        pub(crate) fn set(&self, new: f64) {
            self.change(|value| *value = new);
        }

        pub(crate) fn add(&self, delta: f64) {
            self.change(|value| *value += delta);
        }

        fn change(&self, change: impl FnOnce(&mut f64)) {
            open(&self.0, Metric::Gauge(0.0), |metric| match metric {
                Metric::Gauge(value) => {
                    change(value);
                    true
                }
                _ => false,
            });
        }
    }

    #[derive(Debug)]
    pub(crate) struct Histogram(String);

    impl Histogram {
        pub(crate) fn new(name: &str, bounds: &[f64]) -> Self {
            assert!(
                bounds.len() <= 32 && bounds.windows(2).all(|pair| pair[0] < pair[1]),
                "the bounds of {name:?} do not ascend, or are more than 32: the host traps"
            );
            Self(name.to_owned())
        }

        pub(crate) fn observe(&self, value: f64) {
            open(&self.0, Metric::Histogram(Vec::new()), |metric| match metric {
                Metric::Histogram(values) => {
                    values.push(value);
                    true
                }
                _ => false,
            });
        }
    }
}

pub(crate) mod shared {
    use crate::bindings::imports::shared::{Entry, SharedError};
    use crate::testing::host::active;
    use crate::testing::world::WORLD;

    #[derive(Debug)]
    pub(crate) struct Counter(String);

    impl Counter {
        pub(crate) fn new(name: &str) -> Self {
            Self(name.to_owned())
        }

        pub(crate) fn add(&self, delta: u64) -> u64 {
            self.change(|value| value.wrapping_add(delta))
        }

        pub(crate) fn get(&self) -> u64 {
            self.change(|value| value)
        }

        pub(crate) fn swap(&self, new: u64) -> u64 {
            self.change(|_| new)
        }

        fn change(&self, change: impl FnOnce(u64) -> u64) -> u64 {
            let plugin = active().id;
            WORLD.with_borrow_mut(|world| {
                let value = world.counters.entry((plugin, self.0.clone())).or_default();
                std::mem::replace(value, change(*value))
            })
        }
    }

    pub(crate) fn get(key: &str) -> Option<Entry> {
        let plugin = active().id;
        WORLD.with_borrow_mut(|world| world.entry(plugin, key).cloned())
    }

    pub(crate) fn set(key: &str, value: &[u8], expires_ms: Option<u64>) -> Result<u64, SharedError> {
        let plugin = active().id;
        WORLD.with_borrow_mut(|world| world.set_entry(plugin, key, value, expires_ms))
    }

    pub(crate) fn compare_and_set(
        key: &str,
        version: Option<u64>,
        value: &[u8],
        expires_ms: Option<u64>,
    ) -> Result<u64, SharedError> {
        let plugin = active().id;
        WORLD.with_borrow_mut(|world| {
            let now = world.entry(plugin, key).map(|entry| entry.version);
            match now == version {
                true => world.set_entry(plugin, key, value, expires_ms),
                false => Err(SharedError::Conflict(now)),
            }
        })
    }

    pub(crate) fn remove(key: &str) -> bool {
        let plugin = active().id;
        WORLD.with_borrow_mut(|world| world.remove_entry(plugin, key))
    }
}

pub(crate) mod outbound {
    use crate::bindings::imports::outbound::{OutboundError, Request};
    use crate::bindings::imports::types::Response;
    use crate::testing::host::active;
    use crate::testing::world::WORLD;

    pub(crate) fn send(request: &Request) -> Result<Response, OutboundError> {
        if active().alone {
            return Err(OutboundError::Unavailable);
        }
        if !request.path.starts_with('/') {
            return Err(OutboundError::Invalid("the path does not begin with /".to_owned()));
        }
        if let Some((name, _)) = request.fields.iter().find(|(name, _)| odin_chain::fields::name(name).is_err()) {
            return Err(OutboundError::Invalid(format!("the field {name:?}")));
        }
        // Taken out meanwhile: the answer may ask the simulated host itself.
        let Some(mut answer) = WORLD.with_borrow_mut(|world| world.outbound.take()) else {
            return Err(OutboundError::NotGranted);
        };
        let result = answer(&request.clone().into());
        WORLD.with_borrow_mut(|world| world.outbound = Some(answer));
        result.map(Into::into).map_err(Into::into)
    }
}
