use std::time::Duration;

use super::*;

fn worker(id: u32, slot: u32) -> WorkerRef {
    WorkerRef { id: WorkerId(id), slot: Some(Slot(slot)), pid: 100 + id as i32 }
}

fn course(kind: JobKind, manner: Manner, slots: u32) -> Course {
    let slots: Vec<_> = (0..slots).map(|slot| (10 + slot, Slot(slot))).collect();
    Course::new(1, kind, manner, &slots, Ends::default(), "web")
}

/// With nobody left in the slot that it is about.
fn see(course: &mut Course, seen: &Seen) -> bool {
    course.see(seen, |_| true)
}

fn states(course: &Course) -> Vec<StepState> {
    course.job.steps.iter().map(|step| step.state).collect()
}

fn gone(id: u32, slot: u32, exit: Exit, cause: EndCause) -> Seen {
    Seen::Gone(worker(id, slot), exit, cause)
}

#[test]
fn a_start_is_done_when_everybody_is_ready() {
    let mut course = course(JobKind::Start, Manner::Come, 2);
    for slot in 0..2 {
        see(&mut course, &Seen::Born(worker(slot + 1, slot)));
        assert!(!course.is_over());
        see(&mut course, &Seen::Ready(worker(slot + 1, slot)));
    }
    assert_eq!((course.job.state, course.job.steps[1].pid), (JobState::Done, Some(102)));
}

#[test]
fn a_start_fails_with_the_first_who_ends_and_waits_for_the_others() {
    let mut course = course(JobKind::Start, Manner::Come, 2);
    see(&mut course, &Seen::Born(worker(2, 1)));
    see(&mut course, &Seen::Born(worker(1, 0)));
    see(&mut course, &gone(1, 0, Exit::Code(7), EndCause::ByItself));
    assert!(!course.is_over(), "the other one is on its way");
    see(&mut course, &Seen::Born(worker(3, 0)));
    assert_eq!(states(&course)[0], StepState::Starting, "it is tried again");
    see(&mut course, &gone(3, 0, Exit::Code(7), EndCause::ByItself));
    see(&mut course, &Seen::Ready(worker(2, 1)));
    assert_eq!(course.job.state, JobState::Failed);
    let words = "cannot start `web`: worker 0 ended with code 7 before it was ready";
    assert_eq!(course.job.error.as_deref(), Some(words));
    assert_eq!(course.culprit, Some(WorkerId(1)));
}

#[test]
fn one_that_runs_once_may_end_in_order_and_in_no_other_way() {
    let ends = Ends { once: true, codes: vec![3] };
    for (exit, state) in [
        (Exit::Code(0), JobState::Done),
        (Exit::Code(3), JobState::Done),
        (Exit::Code(1), JobState::Failed),
        (Exit::Signal(9), JobState::Failed),
    ] {
        let slots = [(0, Slot(0))];
        let mut course = Course::new(1, JobKind::Start, Manner::Come, &slots, ends.clone(), "job");
        see(&mut course, &Seen::Born(worker(1, 0)));
        see(&mut course, &gone(1, 0, exit, EndCause::ByItself));
        assert_eq!(course.job.state, state, "{exit:?}");
    }
}

#[test]
fn a_restart_goes_from_slot_to_slot() {
    let mut course = course(JobKind::Restart, Manner::Change { width: 1 }, 3);
    let there = |slot: Slot| (slot != Slot(1)).then(|| WorkerId(slot.0 + 1));
    assert_eq!(course.next(there), [Do::Change(Slot(0))]);
    assert_eq!(course.next(there), []);
    see(&mut course, &gone(1, 0, Exit::Code(0), EndCause::Asked));
    see(&mut course, &Seen::Born(worker(4, 0)));
    see(&mut course, &Seen::Ready(worker(4, 0)));
    assert_eq!(course.next(there), [Do::Fill(Slot(1))], "nobody is there who could leave");
    see(&mut course, &Seen::Born(worker(5, 1)));
    see(&mut course, &Seen::Ready(worker(5, 1)));
    assert_eq!(course.next(there), [Do::Change(Slot(2))]);
    see(&mut course, &gone(3, 2, Exit::Code(0), EndCause::Asked));
    see(&mut course, &Seen::Born(worker(6, 2)));
    assert!(!course.is_over());
    see(&mut course, &Seen::Ready(worker(6, 2)));
    assert_eq!(course.job.state, JobState::Done);
}

#[test]
fn a_restart_goes_no_further_than_to_the_first_that_does_not_come_back() {
    let mut course = course(JobKind::Restart, Manner::Change { width: 1 }, 2);
    course.next(|slot| Some(WorkerId(slot.0 + 1)));
    see(&mut course, &gone(1, 0, Exit::Code(0), EndCause::Asked));
    see(&mut course, &Seen::Born(worker(3, 0)));
    see(&mut course, &gone(3, 0, Exit::Code(1), EndCause::ByItself));
    assert_eq!(course.job.state, JobState::Failed);
    assert_eq!(states(&course), [StepState::Failed, StepState::Waiting]);
    assert_eq!(course.next(|slot| Some(WorkerId(slot.0 + 1))), []);
}

#[test]
fn one_that_is_not_ready_in_time_fails_a_start() {
    let mut course = course(JobKind::Start, Manner::Come, 1);
    see(&mut course, &Seen::Born(worker(1, 0)));
    see(&mut course, &Seen::Late(worker(1, 0)));
    assert_eq!(course.job.state, JobState::Failed);
}

#[test]
fn a_reload_follows_the_core_to_its_end() {
    let mut course = course(JobKind::Reload, Manner::Reload, 2);
    see(&mut course, &Seen::Born(worker(3, 0)));
    see(&mut course, &Seen::Ready(worker(3, 0)));
    assert_eq!(states(&course), [StepState::Proving, StepState::Waiting]);
    see(&mut course, &Seen::Replaced(Slot(0)));
    assert_eq!(course.job.steps[0].pid, None, "the new one does not drain");
    see(&mut course, &gone(1, 0, Exit::Code(0), EndCause::Asked));
    assert_eq!(states(&course), [StepState::Done, StepState::Waiting]);
    see(&mut course, &Seen::Born(worker(4, 1)));
    see(&mut course, &Seen::Replaced(Slot(1)));
    see(&mut course, &Seen::Phase(worker(2, 1), oneport::Phase::Stopping));
    assert_eq!(states(&course), [StepState::Done, StepState::Stopping]);
    see(&mut course, &Seen::Reloaded);
    assert_eq!(course.job.state, JobState::Done);
}

#[test]
fn a_reload_that_is_given_up_says_who_failed_and_how() {
    let mut course = course(JobKind::Reload, Manner::Reload, 2);
    see(&mut course, &Seen::Born(worker(3, 0)));
    see(&mut course, &gone(3, 0, Exit::Code(1), EndCause::ByItself));
    assert!(!course.is_over());
    see(&mut course, &Seen::Aborted(Slot(0), worker(3, 0), ReloadFailure::Died(Exit::Code(1))));
    assert_eq!(states(&course), [StepState::Failed, StepState::Waiting]);
    assert_eq!(course.job.state, JobState::Failed);
    let late = ReloadFailure::NotReady(Duration::from_secs(3));
    assert_eq!(failure_words(late), "was not ready after 3 s");
}

#[test]
fn what_ends_everything_ends_a_stop_and_interrupts_a_start() {
    let mut stop = course(JobKind::Stop, Manner::Leave, 2);
    see(&mut stop, &Seen::Over);
    assert_eq!(stop.job.state, JobState::Done);
    let mut start = course(JobKind::Start, Manner::Come, 2);
    see(&mut start, &Seen::Over);
    assert_eq!(start.job.state, JobState::Failed);
    assert_eq!(start.job.error.as_deref(), Some("cannot start `web`: it was interrupted"));
}

#[test]
fn a_job_about_nobody_is_done() {
    assert_eq!(course(JobKind::Stop, Manner::Leave, 0).job.state, JobState::Done);
}

#[test]
fn a_slot_that_is_given_up_or_ends_for_good_in_the_middle_ends_the_job() {
    for last in [Seen::Errored(Slot(0)), Seen::Finished(Slot(0))] {
        let mut course = course(JobKind::Restart, Manner::Change { width: 1 }, 1);
        course.next(|_| Some(WorkerId(1)));
        // It crashed just before it was asked.
        see(&mut course, &gone(1, 0, Exit::Code(1), EndCause::ByItself));
        assert!(!course.is_over());
        see(&mut course, &last);
        assert_eq!(course.job.state, JobState::Failed, "{last:?}");
    }
}

#[test]
fn who_leaves_late_from_an_earlier_reload_is_no_matter_of_a_restart() {
    let mut course = course(JobKind::Restart, Manner::Change { width: 1 }, 1);
    course.next(|_| Some(WorkerId(1)));
    course.see(&gone(9, 0, Exit::Code(0), EndCause::Asked), |_| false);
    assert_eq!(states(&course), [StepState::Draining]);
    see(&mut course, &gone(1, 0, Exit::Code(0), EndCause::Asked));
    see(&mut course, &Seen::Born(worker(10, 0)));
    see(&mut course, &Seen::Ready(worker(10, 0)));
    assert_eq!(course.job.state, JobState::Done);
}

#[test]
fn a_stop_in_the_middle_of_a_reload_is_done_when_both_have_gone() {
    let mut course = course(JobKind::Stop, Manner::Leave, 1);
    course.see(&gone(2, 0, Exit::Code(0), EndCause::Asked), |_| false);
    assert!(!course.is_over());
    see(&mut course, &gone(1, 0, Exit::Code(0), EndCause::Asked));
    assert_eq!(course.job.state, JobState::Done);
}

#[test]
fn a_slot_whose_worker_is_leaving_already_is_filled_beside_it() {
    let mut course = course(JobKind::Restart, Manner::Change { width: 1 }, 1);
    assert_eq!(course.next(|_| None), [Do::Fill(Slot(0))]);
    see(&mut course, &gone(1, 0, Exit::Code(0), EndCause::Asked));
    assert_eq!(states(&course), [StepState::Starting]);
}

#[test]
fn a_reload_without_room_for_both_waits_for_proof() {
    let mut course = course(JobKind::Reload, Manner::Change { width: 1 }, 1);
    course.next(|_| Some(WorkerId(1)));
    see(&mut course, &gone(1, 0, Exit::Code(0), EndCause::Asked));
    see(&mut course, &Seen::Born(worker(2, 0)));
    see(&mut course, &Seen::Ready(worker(2, 0)));
    assert_eq!(states(&course), [StepState::Proving]);
    see(&mut course, &Seen::Proven(worker(2, 0)));
    assert_eq!(course.job.state, JobState::Done);
}

#[test]
fn one_that_comes_at_the_second_try_is_no_failure() {
    let mut course = course(JobKind::Start, Manner::Come, 2);
    see(&mut course, &Seen::Born(worker(1, 0)));
    see(&mut course, &Seen::Born(worker(2, 1)));
    see(&mut course, &gone(1, 0, Exit::Code(7), EndCause::ByItself));
    see(&mut course, &Seen::Born(worker(3, 0)));
    see(&mut course, &Seen::Ready(worker(3, 0)));
    see(&mut course, &Seen::Ready(worker(2, 1)));
    assert_eq!((course.job.state, course.job.error), (JobState::Done, None));
}
