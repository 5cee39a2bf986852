// Running one launch on the CPU: fibers, or threads with -DHOST_THREADS. See host_shim.h.
#pragma once

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

inline thread_local unsigned self = 0;
inline std::unique_ptr<std::barrier<>> everyone;
inline std::vector<std::unique_ptr<std::barrier<>>> warps;

inline unsigned thread_index() { return self; }
inline void block_barrier() { everyone->arrive_and_wait(); }
inline void warp_barrier() { warps[self / kWarp]->arrive_and_wait(); }

inline void run_block(Body body, void** arguments, unsigned threads, bool) {
  everyone = std::make_unique<std::barrier<>>(threads);
  warps.clear();
  for (unsigned done = 0; done < threads; done += kWarp)
    warps.push_back(std::make_unique<std::barrier<>>(kWarp));
  std::vector<std::thread> crowd;
  for (unsigned index = 0; index < threads; ++index) {
    crowd.emplace_back([=] {
      self = index;
      body(arguments);
    });
  }
  for (auto& thread : crowd) thread.join();
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
  ucontext_t home{};
  unsigned current = 0;
  Body body = nullptr;
  void** arguments = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  const void* home_stack = nullptr;
  std::size_t home_size = 0;
#endif
};

inline Scheduler& scheduler() {
  static Scheduler one;
  return one;
}

inline unsigned thread_index() { return scheduler().current; }

inline void leave(State state) {
  Scheduler& s = scheduler();
  Fiber& fiber = s.fibers[s.current];
  fiber.state = state;
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(state == State::done ? nullptr : &fake, s.home_stack, s.home_size);
#endif
  swapcontext(&fiber.context, &s.home);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, &s.home_stack, &s.home_size);
#endif
}

inline void enter(unsigned index) {
  Scheduler& s = scheduler();
  s.current = index;
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, s.fibers[index].stack.get(), kStack);
#endif
  swapcontext(&s.home, &s.fibers[index].context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

inline void block_barrier() { leave(State::at_block); }
inline void warp_barrier() { leave(State::at_warp); }

inline void trampoline() {
  Scheduler& s = scheduler();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &s.home_stack, &s.home_size);
#endif
  s.body(s.arguments);
  leave(State::done);
}

// Let every fiber that is ready run to its next barrier; then open the barriers that are complete.
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
    makecontext(&fiber.context, trampoline, 0);
  }
  for (;;) {
    for (unsigned step = 0; step < threads; ++step) {
      const unsigned index = backwards ? threads - 1 - step : step;
      if (s.fibers[index].state == State::ready) enter(index);
    }
    unsigned done = 0, at_block = 0;
    bool opened = false;
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
        opened = true;
      } else if (at_warp != 0) {
        fail("the lanes of a warp parted before a shuffle");
      }
    }
    if (done == threads) return;
    if (at_block == threads) {
      for (Fiber& fiber : s.fibers) fiber.state = State::ready;
    } else if (!opened) {
      fail("some threads of a block ended while others wait at a barrier");
    }
  }
}

#endif

inline void run(Body body, void** arguments, const unsigned* grid, unsigned threads,
                std::size_t shared, bool backwards) {
  if (threads == 0 || threads % kWarp != 0) fail("a block must be made of whole warps");
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

#define EXPORT(kernel) \
  static host::Registration kernel##_registration( \
      #kernel, [](void** arguments) { host::call(kernel, arguments); });

// The one way in from outside: 0, or 1 where there is no kernel of that name.
extern "C" inline __attribute__((visibility("default"), used)) int emulate(
    const char* name, const unsigned* grid, unsigned threads, std::size_t shared, int backwards,
    void** arguments) {
  const auto found = host::kernels().find(name);
  if (found == host::kernels().end()) return 1;
  host::run(found->second, arguments, grid, threads, shared, backwards != 0);
  return 0;
}
