// Runs one launch on the CPU, by fibers, or by threads with -DHOST_THREADS; see shim.h.
#pragma once

#include "block.h"

#ifdef HOST_THREADS
#include <barrier>
#include <thread>
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace host {

using Body = void (*)(void**);

#ifdef HOST_THREADS

inline thread_local unsigned thread_id = 0;
inline std::unique_ptr<std::barrier<>> all_threads;
inline std::vector<std::unique_ptr<std::barrier<>>> warps;

inline unsigned thread_index() { return thread_id; }
inline void block_barrier() { all_threads->arrive_and_wait(); }
inline void warp_barrier() { warps[thread_id / kWarp]->arrive_and_wait(); }

inline void run_block(Body body, void** arguments, unsigned count, bool) {
  all_threads = std::make_unique<std::barrier<>>(count);
  warps.clear();
  for (unsigned first = 0; first < count; first += kWarp)
    warps.push_back(std::make_unique<std::barrier<>>(kWarp));
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < count; ++index) {
    threads.emplace_back([=] {
      thread_id = index;
      body(arguments);
    });
  }
  for (auto& thread : threads) thread.join();
}

#else

enum class State { ready, at_block, at_warp, done };

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack;
  State state = State::ready;
};

constexpr std::size_t kStack = 256 * 1024;

struct Scheduler {
  std::vector<Fiber> fibers;
  ucontext_t main{};
  unsigned current = 0;
  Body body = nullptr;
  void** arguments = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  const void* main_stack = nullptr;
  std::size_t main_size = 0;
#endif
};

inline Scheduler& scheduler() {
  static Scheduler instance;
  return instance;
}

inline unsigned thread_index() { return scheduler().current; }

// Give control back to the scheduler, from a fiber.
inline void yield(State state) {
  Scheduler& s = scheduler();
  Fiber& fiber = s.fibers[s.current];
  fiber.state = state;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(state == State::done ? nullptr : &fake_stack, s.main_stack,
                                 s.main_size);
#endif
  swapcontext(&fiber.context, &s.main);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, &s.main_stack, &s.main_size);
#endif
}

// Run a fiber until it yields, from the scheduler.
inline void resume(unsigned index) {
  Scheduler& s = scheduler();
  s.current = index;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, s.fibers[index].stack.get(), kStack);
#endif
  swapcontext(&s.main, &s.fibers[index].context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

inline void block_barrier() { yield(State::at_block); }
inline void warp_barrier() { yield(State::at_warp); }

inline void fiber_main() {
  Scheduler& s = scheduler();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &s.main_stack, &s.main_size);
#endif
  s.body(s.arguments);
  yield(State::done);
}

// Run every ready fiber to its next barrier, then release the barriers that are complete; repeat.
inline void run_block(Body body, void** arguments, unsigned threads, bool backwards) {
  Scheduler& s = scheduler();
  s.body = body;
  s.arguments = arguments;
  s.fibers.resize(threads);
  for (Fiber& fiber : s.fibers) {
    if (!fiber.stack) fiber.stack.reset(new char[kStack]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    fiber.state = State::ready;
    makecontext(&fiber.context, fiber_main, 0);
  }
  for (;;) {
    for (unsigned step = 0; step < threads; ++step) {
      const unsigned index = backwards ? threads - 1 - step : step;
      if (s.fibers[index].state == State::ready) resume(index);
    }
    unsigned done = 0, at_block = 0;
    bool released = false;
    for (unsigned first = 0; first < threads; first += kWarp) {
      unsigned at_warp = 0;
      for (unsigned lane = first; lane < first + kWarp; ++lane) {
        done += s.fibers[lane].state == State::done;
        at_block += s.fibers[lane].state == State::at_block;
        at_warp += s.fibers[lane].state == State::at_warp;
      }
      if (at_warp == kWarp) {
        for (unsigned lane = first; lane < first + kWarp; ++lane)
          s.fibers[lane].state = State::ready;
        released = true;
      } else if (at_warp != 0) {
        fail("only some lanes of a warp reached a shuffle");
      }
    }
    if (done == threads) return;
    if (at_block == threads) {
      for (Fiber& fiber : s.fibers) fiber.state = State::ready;
    } else if (!released) {
      fail("some threads of a block ended while others wait at a barrier");
    }
  }
}

#endif

inline void run(Body body, void** arguments, const unsigned* grid, unsigned threads,
                std::size_t shared, bool backwards) {
  if (threads == 0 || threads % kWarp != 0)
    fail("the number of threads of a block is not a multiple of 32");
  Block& b = block();
  b.grid = {grid[0], grid[1], grid[2]};
  b.size = {threads, 1, 1};
  b.exchange.assign(threads, 0);
  b.fragments.assign(threads, {});
  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0]; ++x) {
        b.index = {x, y, z};
        b.shared.reset(new unsigned char[shared]);
        std::memset(b.shared.get(), 0xCD, shared);
        run_block(body, arguments, threads, backwards);
      }
}

inline std::map<std::string, Body>& kernels() {
  static std::map<std::string, Body> table;
  return table;
}

// Call a kernel with the arguments that an array of pointers points to, as cuLaunchKernel does.
template <typename... Arguments, std::size_t... Position>
void unpacked(void (*kernel)(Arguments...), void** arguments, std::index_sequence<Position...>) {
  kernel(*static_cast<std::remove_const_t<Arguments>*>(arguments[Position])...);
}

template <typename... Arguments>
void call(void (*kernel)(Arguments...), void** arguments) {
  unpacked(kernel, arguments, std::index_sequence_for<Arguments...>());
}

struct Registration {
  Registration(const char* name, Body body) { kernels()[name] = body; }
};

}  // namespace host

// Entry point of emulation.py and replay.cpp. Returns 0, or 1 if there is no kernel of that name.
extern "C" inline __attribute__((visibility("default"), used)) int emulate(
    const char* name, const unsigned* grid, unsigned threads, std::size_t shared, int backwards,
    void** arguments) {
  const auto found = host::kernels().find(name);
  if (found == host::kernels().end()) return 1;
  host::run(found->second, arguments, grid, threads, shared, backwards != 0);
  return 0;
}
