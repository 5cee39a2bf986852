// Handles of the stand-in library, for tests.
#pragma once

extern "C" {
/// Lets the call of that number from now on fail; 0: none.
void fake_fail_at(long call);
/// Whether that call is still to come.
bool fake_pending();
/// Lets every run take so many milliseconds longer.
void fake_delay(int ms);
/// Objects handed out and not yet given back.
long fake_alive();
}
