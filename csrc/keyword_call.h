// Named arguments for Python functions that are called for very little work.
//
// A call site in Python passes the same tuple of names at every call. The parser looks the names of a tuple up once and later
// only stores the values, so that named arguments cost what positional ones cost. nanobind looks its own up at every call,
// which would take 0.8 us if each of the 26 integers of forward() were an argument, 7 % of the forward pass of a layer of 4
// hidden units.
//
// An argument is an integer or a tuple of integers. A function must not have more than 15 arguments, where a tuple counts as
// one: from 16 named arguments on CPython passes them in a dictionary, built anew for every call.
#pragma once

#include <Python.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace ohlol {

constexpr std::size_t max_named_arguments = 15;

// The stable ABI has functions where a build for one version of Python reads the tuple itself.
#if defined(Py_LIMITED_API)
inline Py_ssize_t tuple_size(PyObject* tuple) { return PyTuple_Size(tuple); }
inline PyObject* tuple_item(PyObject* tuple, Py_ssize_t i) { return PyTuple_GetItem(tuple, i); }
#else
inline Py_ssize_t tuple_size(PyObject* tuple) { return PyTuple_GET_SIZE(tuple); }
inline PyObject* tuple_item(PyObject* tuple, Py_ssize_t i) { return PyTuple_GET_ITEM(tuple, i); }
#endif

// An argument and where it is stored; without `required` it may be left out.
template <class Arguments>
struct Field {
    const char* name;
    bool required;
    std::vector<std::int64_t Arguments::*> members;  // one for an integer, several for a tuple
};

template <class Arguments>
class KeywordParser {
  public:
    KeywordParser(const char* function, std::vector<Field<Arguments>> fields)
        : function_(function), fields_(std::move(fields)) {}

    std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (const Field<Arguments>& field : fields_) names.emplace_back(field.name);
        return names;
    }

    // Stores the arguments of a METH_FASTCALL | METH_KEYWORDS call; returns false with a Python error set if they are wrong.
    // The caller holds the GIL.
    bool parse(PyObject* const* values, Py_ssize_t positional, PyObject* names, Arguments& arguments) {
        if (positional) return error("takes named arguments only");
        for (const CallSite& site : call_sites_)
            if (site.names == names) return store(site, values, arguments);
        CallSite site;
        if (!look_up(names, site)) return false;
        if (call_sites_.size() < max_call_sites) {
            Py_XINCREF(names);  // keeps the address from being used for another tuple
            call_sites_.push_back(site);
        }
        return store(site, values, arguments);
    }

  private:
    struct CallSite {
        PyObject* names;
        std::vector<const Field<Arguments>*> fields;
    };
    static constexpr std::size_t max_call_sites = 16;  // a call with **arguments has a new tuple every time

    bool error(const std::string& message) const {
        PyErr_Format(PyExc_TypeError, "%s() %s", function_, message.c_str());
        return false;
    }

    bool look_up(PyObject* names, CallSite& site) const {
        site.names = names;
        const Py_ssize_t count = names ? tuple_size(names) : 0;
        std::vector<bool> named(fields_.size());
        for (Py_ssize_t i = 0; i < count; ++i) {
            const char* name = PyUnicode_AsUTF8AndSize(tuple_item(names, i), nullptr);
            if (!name) return false;
            std::size_t k = 0;
            while (k < fields_.size() && std::strcmp(fields_[k].name, name) != 0) ++k;
            if (k == fields_.size()) return error(std::string("has no argument '") + name + "'");
            named[k] = true;
            site.fields.push_back(&fields_[k]);
        }
        for (std::size_t k = 0; k < fields_.size(); ++k)
            if (fields_[k].required && !named[k]) return error(std::string("needs the argument '") + fields_[k].name + "'");
        return true;
    }

    bool store(const CallSite& site, PyObject* const* values, Arguments& arguments) const {
        for (std::size_t i = 0; i < site.fields.size(); ++i) {
            const Field<Arguments>& field = *site.fields[i];
            PyObject* value = values[i];
            if (field.members.size() == 1) {
                if (!store_integer(value, arguments.*field.members[0])) return false;
                continue;
            }
            const auto size = static_cast<Py_ssize_t>(field.members.size());
            if (!PyTuple_Check(value) || tuple_size(value) != size)
                return error(std::string("needs a tuple of ") + std::to_string(size) + " integers as '" + field.name + "'");
            for (Py_ssize_t k = 0; k < size; ++k)
                if (!store_integer(tuple_item(value, k), arguments.*field.members[k])) return false;
        }
        return true;
    }

    static bool store_integer(PyObject* value, std::int64_t& member) {
        member = PyLong_AsLongLong(value);
        return member != -1 || !PyErr_Occurred();
    }

    const char* function_;
    std::vector<Field<Arguments>> fields_;
    std::vector<CallSite> call_sites_;
};

}  // namespace ohlol
