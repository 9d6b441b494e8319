//! What header hooks and balancers see, what they change, what they answer.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::*;
use odin_chain::{BodyMode, Decision, Hook};
use odin_runtime::{Cause, Isolation, LoadError};

#[test]
fn a_request_hook_reads_a_field_and_sets_one() {
    let mut state = exchange();
    assert!(matches!(call_request(&get_set(), &mut state).unwrap(), Decision::Continue));
    let request = state.request.unwrap();
    assert_eq!(request.headers["x-odin"], "seen");
    assert_eq!(request.headers["user-agent"], "curl/8");
    assert!(state.plugin_nanos > 0);
}

#[test]
fn a_warm_instance_serves_many_calls() {
    let worker = worker_of("request-headers", &get_set());
    for _ in 0..1000 {
        now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
    }
    let stats = worker.pin().plugin().stats();
    let calls = stats.hook(Hook::RequestHeaders);
    assert_eq!((calls.calls, calls.failures), (1000, 0));
    assert_eq!(calls.histogram.iter().sum::<u64>(), 1000);
    // One to try the file, one for the worker.
    assert_eq!(stats.instances_created, 2);
}

#[test]
fn instances_are_replaced_after_their_calls() {
    let mut spec = spec("test");
    spec.limits.recycle_after_calls = 100;
    let worker = worker(spec, &guest(&["request-headers"], &noop()));
    for _ in 0..1000 {
        now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
    }
    let made = worker.pin().plugin().stats().instances_created;
    assert!((9..=16).contains(&made), "{made}");
}

#[test]
fn a_fresh_plugin_gets_a_new_instance_for_each_call() {
    let mut spec = spec("test");
    spec.isolation = Isolation::Fresh;
    let worker = worker(spec, &guest(&["request-headers"], &get_set()));
    for _ in 0..10 {
        now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap();
    }
    assert_eq!(worker.pin().plugin().stats().instances_created, 11);
}

#[test]
fn the_request_tells_all_about_itself() {
    // Each string that a getter answers lies at the place whose address is at 64, its length at 68.
    let is = |getter: &str, first: u8, length: u32| {
        format!(
            "(call ${getter} (i32.const 64)) {} {}",
            expect("(i32.load8_u (i32.load (i32.const 64)))", first.into()),
            expect("(i32.load (i32.const 68))", length)
        )
    };
    let code = [
        is("method", b'G', 3),
        is("path", b'/', 11),
        is("scheme", b'h', 4),
        is("authority", b'e', 11),
        expect("(call $has-body)", 1),
        expect("(call $has (i32.const 1024) (i32.const 10))", 1),
        expect("(call $has (i32.const 1040) (i32.const 6))", 0),
        // One value; one field.
        "(call $get-all (i32.const 1024) (i32.const 10) (i32.const 64))".to_owned(),
        expect("(i32.load (i32.const 68))", 1),
        "(call $fields (i32.const 64))".to_owned(),
        expect("(i32.load (i32.const 68))", 1),
    ];
    let mut state = exchange();
    state.request_has_body = true;
    call_request(&on_request(&code.concat()), &mut state).unwrap();
}

#[test]
fn framing_fields_are_refused_and_the_message_is_left_alone() {
    let code = "(call $set (i32.const 1088) (i32.const 14) (i32.const 1056) (i32.const 4) (i32.const 64))".to_owned()
        + &expect_byte(64, 1)
        + &expect_byte(65, 2);
    let mut state = exchange();
    call_request(&on_request(&code), &mut state).unwrap();
    assert!(!state.request.unwrap().headers.contains_key("content-length"));
}

#[test]
fn a_head_cannot_grow_past_its_limit() {
    // Appends without end, until the answer is err(too-large).
    let code = "(loop $more
            (call $append (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))
            (br_if $more (i32.eqz (i32.load8_u (i32.const 64)))))"
        .to_owned()
        + &expect_byte(65, 3);
    let mut state = exchange();
    call_request(&on_request(&code), &mut state).unwrap();
    let headers = state.request.unwrap().headers;
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    assert!((1024 - 14..=1024).contains(&bytes), "{bytes}");
}

#[test]
fn the_request_line_can_be_replaced() {
    let setter = |name: &str, at: u32, length: u32, error: Option<u32>| {
        let call = format!("(call $set-{name} (i32.const {at}) (i32.const {length}) (i32.const 64))");
        match error {
            None => call + &expect_byte(64, 0),
            Some(error) => call + &expect_byte(64, 1) + &expect_byte(65, error),
        }
    };
    let code = [
        setter("path", 1136, 9, None),
        setter("path", 1056, 4, Some(1)),
        setter("authority", 1056, 4, None),
        setter("method", 1072, 4, None),
        setter("method", 2000, 7, Some(1)),
        setter("scheme", 2008, 5, None),
        setter("scheme", 1056, 4, Some(1)),
    ];
    let data = "(data (i32.const 2000) \"CONNECT\") (data (i32.const 2008) \"https\")";
    let mut state = exchange();
    call_request(&format!("{data} {}", on_request(&code.concat())), &mut state).unwrap();
    let request = state.request.unwrap();
    assert_eq!((request.uri.to_string().as_str(), request.method.as_str()), ("/new?path", "turn"));
    assert_eq!((state.authority.to_str().unwrap(), state.scheme.as_str()), ("seen", "https"));
}

#[test]
fn a_closed_request_is_read_only() {
    let three = ["set-path", "set-method", "set-scheme", "set-authority", "remove"].map(|name| {
        format!("(call ${name} (i32.const 1136) (i32.const 9) (i32.const 64))")
            + &expect_byte(64, 1)
            + &expect_byte(65, 4)
    });
    let five = ["set", "append"].map(|name| {
        format!("(call ${name} (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))")
            + &expect_byte(64, 1)
            + &expect_byte(65, 4)
    });
    let mut state = exchange();
    state.request_open = false;
    call_request(&on_request(&(three.concat() + &five.concat())), &mut state).unwrap();
    let request = state.request.unwrap();
    assert_eq!((request.uri.path(), request.headers.len()), ("/path", 1));
}

#[test]
fn without_a_request_or_a_response_their_functions_trap() {
    for (call, message) in [
        ("(call $path (i32.const 64))", "there is no request here"),
        ("(drop (call $has-body))", "there is no request here"),
        ("(call $set-path (i32.const 1136) (i32.const 9) (i32.const 64))", "there is no request here"),
        ("(drop (call $status))", "there is no response here"),
        ("(call $set-status (i32.const 200) (i32.const 64))", "there is no response here"),
        ("(drop (call $len))", "endpoints asked outside `pick`"),
    ] {
        let mut state = exchange();
        state.request = None;
        let error = call_request(&on_request(call), &mut state).unwrap_err();
        assert_eq!(error.to_string(), format!("plugin \"test\": request-headers trapped: {message}"));
    }
}

#[test]
fn a_response_hook_changes_the_response_and_only_reads_the_request() {
    let code = [
        expect("(call $status)", 200),
        expect("(call $response-has-body)", 0),
        "(call $set-response (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))".to_owned(),
        "(call $set-status (i32.const 404) (i32.const 64))".to_owned(),
        "(call $set-status (i32.const 204) (i32.const 80))".to_owned(),
        expect_byte(80, 1) + &expect_byte(81, 1),
        "(call $set (i32.const 1040) (i32.const 6) (i32.const 1056) (i32.const 4) (i32.const 64))".to_owned(),
        expect_byte(65, 4),
    ];
    let worker = worker_of("response-headers", &on_response(&code.concat()));
    let mut state = answered();
    now(worker.pin().decide(Hook::ResponseHeaders, &mut state)).unwrap();
    let response = state.response.as_ref().unwrap();
    assert_eq!((response.status.as_u16(), &response.headers["x-odin"]), (404, &"seen".parse().unwrap()));
    assert!(!state.request.unwrap().headers.contains_key("x-odin"));
}

/// The decision of a request hook that answers these words; it has no body hook.
fn decision(words: &[u32]) -> Decision {
    call_request(&on_request(&answering(words)), &mut exchange()).unwrap()
}

#[test]
fn a_hook_may_refuse_with_a_reason() {
    let Decision::Reject(reason) = decision(&[0, 3, 1152, 9]) else { panic!("not a reject") };
    assert_eq!(reason, "no thanks");
    let Decision::Cut(reason) = decision(&[0, 4, 1152, 9]) else { panic!("not a cut") };
    assert_eq!(reason, "no thanks");
}

#[test]
fn a_hook_may_reply() {
    let Decision::Reply(reply) = decision(&[0, 2, 429, 0, 0, 1152, 9, 0, 0]) else { panic!("not a reply") };
    assert_eq!((reply.head.status.as_u16(), &reply.body[..]), (429, &b"no thanks"[..]));
}

#[test]
fn reading_the_body_means_nothing_without_the_body_hook() {
    assert!(matches!(decision(&[0, 1 | 3 << 8]), Decision::Continue));
    let code = |words: &[u32]| on_request(&answering(words)) + &on_body("");
    for (mode, expected) in [(0, BodyMode::Skip), (1, BodyMode::Stream), (2, BodyMode::Buffer), (3, BodyMode::Hold)] {
        // A `body-mode` lies where the longest payload would: at 8.
        let worker = worker(spec("test"), &guest(&["request-headers", "request-body"], &code(&[0, 1, mode])));
        let Decision::Read(read) = now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap() else {
            panic!("no read")
        };
        assert_eq!(read, expected);
    }
}

#[test]
fn a_plugins_own_error_fails_the_call_and_keeps_the_instance() {
    let worker = worker_of("request-headers", &on_request(&answering(&[1, 1152, 9])));
    for _ in 0..3 {
        let error = now(worker.pin().decide(Hook::RequestHeaders, &mut exchange())).unwrap_err();
        assert_eq!(error.to_string(), "plugin \"test\": request-headers failed: no thanks");
        assert_eq!(error.cause(), &Cause::Refused("no thanks".to_owned()));
    }
    let stats = worker.pin().plugin().stats();
    assert_eq!((stats.refused, stats.traps, stats.instances_created), (3, 0, 2));
}

#[test]
fn a_reply_that_breaks_the_contract_is_a_bad_answer() {
    let answer = |words: &[u32]| on_request(&answering(words));
    let error = call_request(&answer(&[0, 2, 101, 0, 0, 0, 0, 0, 0]), &mut exchange()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin \"test\": request-headers gave a bad answer: a reply with status 101, which is not 200 to 599"
    );
    // One field, named content-length: the pair (name, value) lies at 2000.
    let code = format!(
        "(data (i32.const 2000) \"\\40\\04\\00\\00\\0e\\00\\00\\00\\20\\04\\00\\00\\04\\00\\00\\00\") {}",
        answer(&[0, 2, 200, 2000, 1, 0, 0, 0, 0])
    );
    let error = call_request(&code, &mut exchange()).unwrap_err();
    assert!(matches!(error.cause(), Cause::BadAnswer(what) if what.contains("content-length")), "{error}");
}

#[test]
fn a_balancer_picks_by_turns_among_the_eligible() {
    let worker = worker_of("balancer", &round_robin());
    let cluster = Arc::new(Cluster { len: 3, failed: vec![1], turns: Default::default() });
    let picks: Vec<_> = (0..4).map(|_| now(worker.pin().pick(&mut exchange(), cluster.clone())).unwrap()).collect();
    assert_eq!(picks, [Some(0), Some(2), Some(0), Some(2)]);
}

#[test]
fn a_balancer_takes_the_clusters_turns() {
    let worker = worker_of("balancer", &pick(&picks("(i32.wrap_i64 (i64.rem_u (call $turn) (i64.const 3)))")));
    let cluster = Cluster::of(3);
    let picks: Vec<_> = (0..4).map(|_| now(worker.pin().pick(&mut exchange(), cluster.clone())).unwrap()).collect();
    assert_eq!(picks, [Some(0), Some(1), Some(2), Some(0)]);
}

#[test]
fn an_index_out_of_range_is_a_bad_answer() {
    let worker = worker_of("balancer", &always(3));
    let pick = |len| now(worker.pin().pick(&mut exchange(), Cluster::of(len)));
    assert_eq!(pick(4).unwrap(), Some(3));
    assert_eq!(
        pick(3).unwrap_err().to_string(),
        "plugin \"test\": balancer gave a bad answer: endpoint index 3 is past the end: there are 3"
    );
    assert_eq!(pick(4).unwrap(), Some(3));
}

#[test]
fn asking_for_an_endpoint_past_the_end_traps_and_eligible_answers_false() {
    let eligible = worker_of("balancer", &pick(&expect("(call $eligible (i32.const 9))", 0)));
    assert_eq!(now(eligible.pin().pick(&mut exchange(), Cluster::of(4))).unwrap(), None);
    let address = worker_of("balancer", &pick("(call $address (i32.const 9) (i32.const 64))"));
    let error = now(address.pin().pick(&mut exchange(), Cluster::of(4))).unwrap_err();
    assert_eq!(error.to_string(), "plugin \"test\": balancer trapped: endpoint index 9 is past the end: there are 4");
}

#[test]
fn a_balancer_is_told_what_the_endpoint_is_for() {
    let worker = worker_of("balancer", &pick(&picks("(local.get $subject)")));
    let mut state = exchange();
    assert_eq!(now(worker.pin().pick(&mut state, Cluster::of(2))).unwrap(), Some(0));
    state.request = None;
    assert_eq!(now(worker.pin().pick(&mut state, Cluster::of(2))).unwrap(), Some(1));
}

#[test]
fn a_hook_of_another_shape_is_refused() {
    // The balancer of the contract before: it takes no subject.
    let component = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $f (result u32) (canon lift (core func $i "f")))
        (instance $hook (export "pick" (func $f)))
        (export "odin:plugin/balancer@0.1.0" (instance $hook)))"#;
    match load(&wat::parse_str(component).unwrap()) {
        Err(LoadError::HookMismatch { hook: Hook::Balancer, .. }) => {}
        other => panic!("{:?}", other.err()),
    }
}
