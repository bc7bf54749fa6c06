from quorumlog._core.bridge.testing_log import Box


def test_messages_keep_their_own_batches() -> None:
    box = Box()
    for kind, batches in [(5, 2), (7, 0), (5, 3)]:
        box.message(kind, batches)
    assert box.messages() == [(5, 2), (7, 0), (5, 3)]
    box.take_all()
    assert box.messages() == []


def test_appends_leave_room_for_what_must_go() -> None:
    box = Box()
    appends = 0
    while box.has_room(0):
        box.message(5)
        appends += 1
    assert appends >= 256
    for _ in range(4200):  # an answer for each pending read, and a few for each peer
        box.message(7)


def test_room_for_batches_is_counted() -> None:
    box = Box()
    messages = 0
    while box.has_room(256):
        box.message(5, 256)
        messages += 1
    assert messages >= 16
    assert box.has_room(0)
    assert not box.has_room(256)


def test_what_nobody_took_is_dropped_with_the_box() -> None:
    # The pool of the box checks at its end that every batch came back.
    box = Box()
    box.message(5, 3)
    box.write()
    del box
