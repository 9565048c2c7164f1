// SPDX-License-Identifier: BSD-2-Clause
// C++17: handles that close themselves, errors as exceptions, and a request that is a std::future.
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>
#include <weft/weft.h>

namespace {

// Closed in the reverse order of opening, which is what the library wants: queue, memory, device, instance.
template <auto Close> struct Closer {
	template <typename T> void operator()(T *handle) const { Close(handle, nullptr); }
};
using Weft = std::unique_ptr<weft, Closer<weft_close>>;
using Device = std::unique_ptr<weft_device, Closer<weft_device_close>>;
using Memory = std::unique_ptr<weft_memory, Closer<weft_memory_release>>;
using Queue = std::unique_ptr<weft_queue, Closer<weft_queue_close>>;

// The last two parameters of each call that opens something are where to store it, and the sentence of an error.
template <typename Handle, typename Open, typename... Args> Handle opened(Open open, Args... args)
{
	typename Handle::pointer handle = nullptr;
	struct weft_why why = {};

	if (open(args..., &handle, &why) != 0)
		throw std::runtime_error(why.text);
	return Handle(handle);
}

std::future<void> begin(weft_queue *queue, int (*call)(weft_queue *, std::uint64_t, void *, std::size_t, void *, unsigned),
	std::uint64_t offset, void *data, std::size_t len)
{
	auto promise = std::make_unique<std::promise<void>>();
	auto future = promise->get_future();

	if (call(queue, offset, data, len, promise.get(), 0) != 0)
		throw std::runtime_error(weft_queue_why(queue));
	promise.release(); // the completion has it
	return future;
}

void take(weft_queue *queue)
{
	std::array<weft_completion, 16> done;
	int n = weft_queue_wait(queue, done.data(), 1, done.size(), WEFT_FOREVER);

	for (int i = 0; i < n; i++) {
		std::unique_ptr<std::promise<void>> promise(static_cast<std::promise<void> *>(done[i].user_data));

		if (done[i].status == 0)
			promise->set_value();
		else
			promise->set_exception(std::make_exception_ptr(std::runtime_error(std::strerror(-done[i].status))));
	}
}

void finish(weft_queue *queue, std::future<void> future)
{
	while (future.wait_for(std::chrono::seconds(0)) != std::future_status::ready)
		take(queue);
	future.get(); // throws what the request failed with
}

void run(const std::string &text)
{
	constexpr std::size_t len = 4096;
	auto library = opened<Weft>(weft_open, nullptr);
	auto device = opened<Device>(weft_device_open, library.get(), text.c_str());
	auto memory = opened<Memory>(weft_memory_alloc, library.get(), 2 * len, 0u);
	auto queue = opened<Queue>(weft_queue_open, device.get(), nullptr, nullptr);
	auto *out = static_cast<char *>(weft_memory_base(memory.get())), *in = out + len;
	auto write = [](weft_queue *q, std::uint64_t offset, void *data, std::size_t n, void *user, unsigned flags) {
		return weft_queue_write(q, offset, data, n, user, flags);
	};

	std::memset(out, 'x', len);
	finish(queue.get(), begin(queue.get(), write, 0, out, len));
	finish(queue.get(), begin(queue.get(), weft_queue_read, 0, in, len));
	std::printf("%s\n", std::memcmp(in, out, len) == 0 ? "the same" : "different");
}

} // namespace

int main(int argc, char **argv)
{
	try {
		run(argc > 1 ? argv[1] : "mem:64MiB");
	} catch (const std::exception &error) {
		std::fprintf(stderr, "%s\n", error.what());
		return 1;
	}
	return 0;
}
