//! A balancer's `pick`, over endpoints that the test describes.

use super::chain::must_load;
use super::scene::{SCENE, Scene, Target};
use crate::Subject;
use crate::export::Exports;

/// An endpoint of the cluster: healthy, idle, of weight 1 unless it says otherwise.
#[derive(Clone, Debug)]
pub struct Endpoint(Target);

impl Endpoint {
    /// At this address.
    pub fn new(address: &str) -> Self {
        let address = address.to_owned();
        Self(Target { address, weight: 1, healthy: true, failed: false, active_requests: 0 })
    }

    /// With this weight.
    pub fn weight(mut self, weight: u32) -> Self {
        self.0.weight = weight;
        self
    }

    /// A connect to it has failed lately, or a response did not come in time.
    pub fn unhealthy(mut self) -> Self {
        self.0.healthy = false;
        self
    }

    /// It has failed for this exchange already.
    pub fn failed(mut self) -> Self {
        self.0.failed = true;
        self
    }

    /// With so many exchanges and connections open to it.
    pub fn active_requests(mut self, count: u32) -> Self {
        self.0.active_requests = count;
        self
    }
}

/// What a balancer picks in so many consecutive turns: an index, or `None` for 503. An index past the end panics, and so
/// does an error of the hook.
///
/// `assert_eq!(testing::pick::<RoundRobin>((), &endpoints, 3), [Some(0), Some(1), Some(0)]);`
pub fn pick<P: Exports>(config: impl serde::Serialize, endpoints: &[Endpoint], turns: usize) -> Vec<Option<u32>> {
    let plugin = must_load::<P>(config);
    let mut scene = Scene::default();
    scene.state.request = Some(Box::new(http::Request::new(()).into_parts().0));
    scene.endpoints = Some(endpoints.iter().map(|endpoint| endpoint.0.clone()).collect());
    SCENE.set(scene);
    let picks = (0..turns).map(|_| match plugin.call(|plugin| plugin.choose(Subject::Request)) {
        Ok(Some(index)) if index as usize >= endpoints.len() => panic!("{index} is past the last endpoint"),
        Ok(pick) => pick,
        Err(words) => panic!("the balancer failed: {words}"),
    });
    let picks = picks.collect();
    SCENE.take();
    picks
}
